"""What a refiner is fed of an estimate, and how poses are read off what it returns (docs/networks.md)."""

from dataclasses import dataclass
from typing import Literal

InputKind = Literal["discs", "confident_discs", "gaussians"]
"""Discs, as published; discs as bright as the estimate's score; Gaussians, as PoseFix (CVPR 2019) has them."""

DecoderKind = Literal["offsets", "votes", "soft_argmax", "integral"]
"""Best cell and its offset, as published; the mean of the places that the cells about it vote for; the centre of the
probability about it; or the mean place of a map that has learnt this, as PoseFix (CVPR 2019) does."""


@dataclass(frozen=True)
class Design:
    """What belongs to a refiner besides its backbone and its skeleton.

    Attributes:
        input: How an estimated pose is drawn.
        decoder: How a pose is read off the network's maps.
    """

    input: InputKind = "discs"
    decoder: DecoderKind = "offsets"

    @property
    def integrates(self) -> bool:
        """Whether the second head returns one map of places for each keypoint, instead of its x and y offsets."""
        return self.decoder == "integral"

    def fits(self, other: "Design") -> bool:
        """Returns whether weights that were trained for one of two designs do for the other."""
        return self.input == other.input and self.integrates == other.integrates


PUBLISHED = Design()


@dataclass(frozen=True)
class DesignChoice:
    """What a user asks for.

    Attributes:
        input: As `Design.input`; None for what is there.
        decoder: As `Design.decoder`; None for what is there.
    """

    input: InputKind | None = None
    decoder: DecoderKind | None = None

    def of(self, design: Design) -> Design:
        """Returns a design with what was asked for."""
        return Design(self.input or design.input, self.decoder or design.decoder)


AS_IT_IS = DesignChoice()
