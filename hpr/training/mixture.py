"""People of several data sets, by weights."""

from collections.abc import Callable, Mapping, Sized
from functools import reduce
from typing import Annotated

import numpy as np
from pydantic import Field

from hpr.settings import NonNegative, checked
from hpr.errors import UserError
from hpr.poses import FloatArray, IntArray
from hpr.skeleton import Skeleton
from hpr.training.dataset import PEOPLE_PER_IMAGE, AnnotatedPerson, People
from hpr.seeds import Purpose, generator

_ROUND = 1000
"""Visits of images after which every data set has had its share; weights count to a thousandth."""


class Mixture:
    """People of several data sets, in a skeleton of all their keypoints.

    Visits of up to four people in a row are dealt to the data sets: in a thousand visits to each exactly its share, in
    an order of chance. A data set gives its people in its own order, so that all of them come before one comes again.
    """

    @checked
    def __init__(
        self,
        parts: Mapping[str, Callable[..., People]],
        weights: Annotated[Mapping[str, NonNegative], Field(min_length=1)],
        seed: int,
    ) -> None:
        """Opens the data sets that have a weight.

        Args:
            parts: Make the people of each data set from a seed.
            weights: Of the data sets, by name; those without one are not opened.
            seed: Of the order.

        Raises:
            UserError: A weight is of no data set, none is above 0, or a data set cannot be read.
        """
        if unknown := weights.keys() - parts.keys():
            raise UserError(f"dataset.parts.{min(unknown)}: expected one of {', '.join(parts)}")
        names = [name for name, weight in weights.items() if weight > 0]
        if not names:
            raise UserError("dataset.parts: expected a weight above 0, found none; set dataset.parts.NAME=1")
        self._parts: list[People] = [parts[name](seed=seed) for name in names]
        self.skeleton: Skeleton = reduce(Skeleton.joined, (part.skeleton for part in self._parts))
        self._visits = _shares(np.array([weights[name] for name in names]))
        self._seed = seed
        self._latest: tuple[int, IntArray] | None = None

    def __len__(self) -> int:
        """Returns the number of people of all data sets: an epoch has as many examples, whatever the weights."""
        return sum(len(part) for part in self._parts if isinstance(part, Sized))

    def person(self, index: int) -> AnnotatedPerson:
        """See `People`.

        Raises:
            UserError: The image is absent or cannot be decoded.
        """
        visit, place = divmod(index, PEOPLE_PER_IMAGE)
        number, slot = divmod(visit, _ROUND)
        if self._latest is None or self._latest[0] != number:
            self._latest = (number, self._dealt(number))
        part, own = self._latest[1][slot].tolist()
        people: People = self._parts[part]
        return people.person(own * PEOPLE_PER_IMAGE + place).in_skeleton(people.skeleton, self.skeleton)

    def _dealt(self, number: int) -> IntArray:
        """Returns (visits, 2) for each visit of a round its data set's place and how many visits that had before."""
        parts = np.repeat(np.arange(len(self._visits)), self._visits)
        random = generator(Purpose.TRAINING_MIXTURE, self._seed, number)
        dealt = random.permutation(parts)
        before = np.concatenate([np.arange(count) for count in self._visits])
        own = np.empty(_ROUND, np.int64)
        own[np.argsort(dealt, kind="stable")] = before  # a data set's visits stay in their order
        return np.column_stack([dealt, number * self._visits[dealt] + own])


def _shares(weights: FloatArray) -> IntArray:
    """Returns (parts,) how many visits of a round each part gets: one or more, and all of them in sum."""
    ends = np.round(np.cumsum(weights / weights.sum()) * _ROUND)
    shares = np.maximum(np.diff(ends, prepend=0.0), 1).astype(np.int64)
    shares[shares.argmax()] += _ROUND - shares.sum()
    return shares
