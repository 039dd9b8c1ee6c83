"""Several processes at one training or refinement, as `torchrun` starts them: the process group."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
        local_rank: Number of this process on its machine.
        local_count: Number of processes on this machine.
    """

    rank: int
    count: int
    local_rank: int
    local_count: int = 1

    @classmethod
    def from_environment(cls) -> "Processes":
        """Reads what torchrun says; alone where it says nothing."""
        return cls(*(int(os.environ.get(name, default)) for name, default in _VARIABLES))

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    @property
    def spare_cores(self) -> int:
        """This process's share of the cores that the program may use, less one for itself; at least 1."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(cores // self.local_count - 1, 1)

    def join(self, device: torch.device) -> None:
        """Meets the others, if there are any."""
        if self.count > 1:
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=timedelta(hours=2))

    def leave(self) -> None:
        """Parts from the others."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def summed(self, value: torch.Tensor) -> torch.Tensor:
        """Returns the sum over all processes."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def wait(self) -> None:
        """Waits until all processes are here."""
        if self.count > 1:
            dist.barrier()

    def agreed(self, value: str) -> str:
        """Returns the first process's value."""
        values = [value]
        if self.count > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def gathered(self, value: Any) -> list[Any]:
        """Returns every process's value in the first process, and this one's own in the others."""
        if self.count == 1:
            return [value]
        values = [None] * self.count if self.is_first else None
        dist.gather_object(value, values)
        return values or [value]

    def own_device(self, device: torch.device) -> torch.device:
        """Returns this process's GPU on its machine where "cuda" leaves open which."""
        if device.type != "cuda" or device.index is not None:
            return device
        device = torch.device("cuda", self.local_rank)
        torch.cuda.set_device(device)
        return device


_VARIABLES = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))

ALONE = Processes(0, 1, 0)
