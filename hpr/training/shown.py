"""Pictures of the same few people at each validation: the estimate, the refined pose and the truth side by side."""

from typing import NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.metrics.frames import paired_frames
from hpr.metrics.posetrack import NamedSequences, paired_sequences
from hpr.images import Image, ImageSource
from hpr.poses import Frame, PoseSequence
from hpr.report.drawing import draw_poses, tile
from hpr.report.page import region

PEOPLE = 6
_WIDTH = 220
_TITLES = ("input", "refined", "truth")


class ShownPerson(NamedTuple):
    """Someone who is drawn at each validation.

    Attributes:
        file: Name of the file.
        sequence: Place of the sequence in the file.
        frame: Place of the frame in the sequence.
        person: Place of the person in the frame.
        estimate: The frame as it was estimated.
        truth: The frame as it is annotated.
    """

    file: str
    sequence: int
    frame: int
    person: int
    estimate: Frame
    truth: Frame


def shown_people(truth: NamedSequences, estimates: NamedSequences) -> list[ShownPerson]:
    """Chooses people with an estimate from all over the clips, always the same."""
    everyone = [person for name in estimates for person in _people_of_file(name, truth, estimates)]
    places = np.linspace(0, len(everyone) - 1, min(PEOPLE, len(everyone))).round().astype(int).tolist()
    return [everyone[place] for place in places]


def _people_of_file(name: str, truth: NamedSequences, estimates: NamedSequences) -> list[ShownPerson]:
    places: dict[int, tuple[int, int]] = {}
    for number, sequence in enumerate(estimates[name]):
        places |= {id(frame): (number, place) for place, frame in enumerate(sequence.frames)}
    people = []
    for pair in paired_sequences([name], truth, estimates, lambda files: None):
        for annotated, estimate in _pairs(*pair):
            if id(estimate) in places:
                posed, (clip, place) = np.flatnonzero(estimate.is_posed).tolist(), places[id(estimate)]
                people += [ShownPerson(name, clip, place, one, estimate, annotated) for one in posed]
    return people


def _pairs(truth: PoseSequence, estimates: PoseSequence) -> list[tuple[Frame, Frame]]:
    try:
        return paired_frames(truth, estimates)[0]
    except UserError:  # scoring has said so
        return []


def people_picture(people: list[ShownPerson], refined: NamedSequences, images: ImageSource) -> Image | None:
    """Draws people with their poses; None where no image can be read.

    Args:
        people: Who is drawn.
        refined: Files of the names of their estimates.
        images: Where the pixels are.

    Returns:
        (H, W, 3) RGB.
    """
    rows = []
    for one in people:
        own = slice(one.person, one.person + 1)
        after = refined[one.file][one.sequence].frames[one.frame]
        try:
            part, corner, scale = region(images.read(one.estimate), [one.estimate.poses[own]], aspect=1.0)
        except UserError:  # it is missing from the scores, too
            continue
        drawn = ((one.estimate.poses[own], one.estimate), (after.poses[own], after), (one.truth.poses, one.truth))
        rows.append([draw_poses(part, (poses - corner) * scale, frame.skeleton) for poses, frame in drawn])
    return tile(rows, _TITLES, _WIDTH) if rows else None
