"""Several processes (ranks) of one training or refinement, as torchrun starts them."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from hpr.errors import UserError


@dataclass(frozen=True)
class Processes:
    """This process (`rank` of `count`) among all of a run, and among those on its machine (`local_rank`)."""

    rank: int
    count: int
    local_rank: int
    local_count: int = 1

    @classmethod
    def from_environment(cls) -> "Processes":
        """Reads torchrun's variables; without them this process is alone."""
        variables = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
        return cls(*(int(os.environ.get(name, default)) for name, default in variables))

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which prints and writes."""
        return self.rank == 0

    @property
    def spare_cores(self) -> int:
        """This process's share of the cores that the program may use, less one for itself; at least 1."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(cores // self.local_count - 1, 1)

    def join(self, device: torch.device) -> None:
        """Joins the process group, unless this process is alone."""
        if self.count > 1:
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=timedelta(hours=2))

    def leave(self) -> None:
        """Leaves the process group."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def summed(self, value: torch.Tensor) -> torch.Tensor:
        """Returns the sum over all ranks (all-reduce in place)."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def wait(self) -> None:
        """Waits until all ranks are here (barrier)."""
        if self.count > 1:
            dist.barrier()

    def agreed(self, value: str) -> str:
        """Returns rank 0's value (broadcast)."""
        values = [value]
        if self.count > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def gathered(self, value: Any) -> list[Any]:
        """Returns the values of all ranks on rank 0, and only the own value on other ranks.

        Raises:
            UserError: Another process was lost.
        """
        if self.count == 1:
            return [value]

        values = [None] * self.count if self.is_first else None
        try:
            dist.gather_object(value, values)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"another process was lost ({reason}); the same command continues the run") from None
        return values or [value]

    def own_device(self, device: torch.device) -> torch.device:
        """Returns this rank's GPU for "cuda" without an index; any other device as it is."""
        if device.type != "cuda" or device.index is not None:
            return device
        device = torch.device("cuda", self.local_rank)
        torch.cuda.set_device(device)
        return device


ALONE = Processes(0, 1, 0)
