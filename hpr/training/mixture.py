"""People of several datasets, mixed by weights."""

from collections.abc import Callable, Mapping, Sized
from functools import reduce
from typing import Annotated

import numpy as np
from pydantic import Field

from hpr.errors import UserError
from hpr.poses import FloatArray, IntArray
from hpr.seeds import Purpose, generator
from hpr.settings import NonNegative, checked
from hpr.skeleton import Skeleton
from hpr.training.dataset import PEOPLE_PER_IMAGE, AnnotatedPerson, PeopleDataset

_ROUND = 1000
"""Image visits in a round, of which each dataset gets its exact share; weights count to a thousandth."""


class Mixture(PeopleDataset):
    """People of several datasets, in a skeleton of all their keypoints.

    A visit is four people in a row, usually of one image. The visits of a round are shared out among the datasets by
    weight and then shuffled. Each dataset gives its people in its own order, so that all of them come before one comes
    again.
    """

    @checked
    def __init__(
        self,
        parts: Mapping[str, Callable[..., PeopleDataset]],
        weights: Annotated[Mapping[str, NonNegative], Field(min_length=1)],
        seed: int,
    ) -> None:
        """Opens the datasets that have a weight.

        Args:
            parts: Constructors of the datasets by name; each takes a `seed`.
            weights: Weights of the datasets by name; datasets without a weight above 0 are not opened.
            seed: Seed of the order.

        Raises:
            UserError: A weight names no dataset, none is above 0, or a dataset cannot be read.
        """
        if unknown := weights.keys() - parts.keys():
            raise UserError(f"dataset.parts.{min(unknown)}: expected one of {', '.join(parts)}")
        names = [name for name, weight in weights.items() if weight > 0]
        if not names:
            raise UserError("dataset.parts: expected a weight above 0, found none; set dataset.parts.NAME=1")

        self._parts: list[PeopleDataset] = [parts[name](seed=seed) for name in names]
        self.skeleton = reduce(Skeleton.joined, (part.skeleton for part in self._parts))
        self._visits = _shares(np.array([weights[name] for name in names]))  # (parts,) visits in a round
        self._seed = seed
        self._latest: tuple[int, IntArray] | None = None  # round, its order

    def __len__(self) -> int:
        """Returns the number of people of all datasets: the length of an epoch, whatever the weights."""
        return sum(len(part) for part in self._parts if isinstance(part, Sized))

    def person(self, index: int) -> AnnotatedPerson:
        """See `PeopleDataset`."""
        visit, offset = divmod(index, PEOPLE_PER_IMAGE)
        round_index, slot = divmod(visit, _ROUND)
        if self._latest is None or self._latest[0] != round_index:
            self._latest = (round_index, self._shuffled(round_index))

        part_index, own_visit = self._latest[1][slot].tolist()
        part: PeopleDataset = self._parts[part_index]
        person = part.person(own_visit * PEOPLE_PER_IMAGE + offset)
        return person.in_skeleton(part.skeleton, self.skeleton)

    def _shuffled(self, round_index: int) -> IntArray:
        """Returns a round's order: (visits, 2) with the index of the dataset and the number of its visits before."""
        parts = np.repeat(np.arange(len(self._visits)), self._visits)
        order = generator(Purpose.TRAINING_MIXTURE, self._seed, round_index).permutation(parts)

        # A dataset's visits stay in their order.
        own_visits = np.empty(_ROUND, np.int64)
        own_visits[np.argsort(order, kind="stable")] = np.concatenate([np.arange(count) for count in self._visits])
        return np.column_stack([order, round_index * self._visits[order] + own_visits])


def _shares(weights: FloatArray) -> IntArray:
    """Returns the visits of each dataset in a round (parts,): at least one each, `_ROUND` in sum."""
    ends = np.round(np.cumsum(weights / weights.sum()) * _ROUND)
    shares = np.maximum(np.diff(ends, prepend=0.0), 1).astype(np.int64)
    shares[shares.argmax()] += _ROUND - shares.sum()
    return shares
