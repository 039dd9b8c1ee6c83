"""Batches on canvases of several sizes, each of people whose crops fit, so that little is cut or padded."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch.utils.data import Dataset

from hpr.poses import FloatArray, IntArray
from hpr.runtime.processes import Processes
from hpr.training.examples import Example, Examples
from hpr.seeds import Purpose, generator

BLOCK = 8
"""Steps that share their examples out among themselves."""

_MEASURED = 128
"""Examples whose sizes say how many steps each canvas gets."""

Key = tuple[int, int]
"""Number of a canvas, index of an example."""


class BucketedExamples(Dataset[Example]):
    """Examples on canvases of several sizes.

    Each `BLOCK` of steps has the examples that it would have on one canvas. A fixed number of its steps goes to each
    canvas, in an order drawn by the number of the block, and the examples go to the steps so that as little as
    possible is cut and padded. All of that follows from the seed and the numbers of step and process alone: a run can
    go on at any step, all processes have the same canvas in a step, and everyone comes as often as on one canvas.
    """

    def __init__(self, canvases: Sequence[Examples], seed: int) -> None:
        """Measures how many steps each canvas should have.

        Args:
            canvases: The same examples on each canvas.
            seed: Of the order of the canvases.

        Raises:
            UserError: An image is absent.
        """
        self._examples = sorted(canvases, key=lambda examples: examples.canvas[0] * examples.canvas[1])
        self._sizes = np.array([examples.canvas for examples in self._examples])  # (C, 2)
        self._seed = seed
        self.steps = _quotas(self._wasted(range(_MEASURED)))
        """(C,) of each block's steps, how many are on each canvas, in order of the canvases' areas."""

    def __getitem__(self, key: Key) -> Example:
        """Returns an example on a canvas."""
        canvas, index = key
        return self._examples[canvas][index]

    def parts(self, steps: range, batch_size: int, accumulate: int, processes: Processes) -> Iterator[list[Key]]:
        """Yields the examples of each part of this process; the parts of a step follow each other.

        Args:
            steps: That are still to be done, from 0.
            batch_size: Examples in a step, over all processes and parts.
            accumulate: Parts that each process takes its share of a step in.
            processes: Who takes part.
        """
        size = batch_size // processes.count
        number, dealt = -1, np.empty((0, 0), np.int64)
        for step in steps:
            block, place = divmod(step, BLOCK)
            if block != number:
                own = [n * batch_size + processes.rank * size for n in range(block * BLOCK, (block + 1) * BLOCK)]
                number, dealt = block, self._dealt(block, np.concatenate([np.arange(n, n + size) for n in own]))
            canvas = int(self._canvases(block)[place])
            for part in np.split(dealt[place], accumulate):
                yield [(canvas, index) for index in part.tolist()]

    def _canvases(self, block: int) -> IntArray:
        """Returns the canvas of each step of a block."""
        each = np.repeat(np.arange(len(self.steps)), self.steps)
        return generator(Purpose.TRAINING_CANVAS, self._seed, block).permutation(each)

    def _dealt(self, block: int, indices: IntArray) -> IntArray:
        """Returns the examples (BLOCK, n) of each step of a block; each of `indices` is in one step."""
        canvases = np.repeat(self._canvases(block), len(indices) // BLOCK)
        _, slots = linear_sum_assignment(self._wasted(indices.tolist())[:, canvases])
        steps = slots // (len(indices) // BLOCK)
        # In a step they keep their order, so that people of one image follow each other.
        return indices[np.argsort(steps, kind="stable")].reshape(BLOCK, -1)

    def _wasted(self, indices: Sequence[int]) -> FloatArray:
        """Returns (n, C) how many pixels examples would lose, or leave empty, on each canvas."""
        sizes = np.array([self._examples[0].extent(index) for index in indices])  # (n, 2, 2)
        needed, whole = sizes[:, :1], sizes[:, 1:]
        cut = needed.prod(axis=-1) - np.minimum(needed, self._sizes).prod(axis=-1)
        return np.asarray(cut + self._sizes.prod(axis=-1) - np.minimum(whole, self._sizes).prod(axis=-1))


def _quotas(wasted: FloatArray) -> IntArray:
    """Returns how many steps of a block each canvas gets: in proportion to the examples (n, C) that it suits best."""
    shares = np.bincount(wasted.argmin(axis=1), minlength=wasted.shape[1]) / len(wasted) * BLOCK
    steps = np.floor(shares).astype(np.int64)
    steps[np.argsort(steps - shares, kind="stable")[: BLOCK - steps.sum()]] += 1
    return steps
