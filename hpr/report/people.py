"""Pictures of single people before and after refining, for a page."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hpr.images import Image, ImageSource
from hpr.metrics.person_changes import PersonChange
from hpr.report.drawing import DrawnPeople, draw_people
from hpr.report.html import Picture, crop_around, jpeg_bytes

NUM_PICTURES = 6
"""Number of people shown who gained most, who lost most, and who moved most."""

_REACH = 5.0
"""Head sizes from the middle of a person beyond which nothing is shown; a standing person is about 8 tall."""


def person_pictures(
    groups: Mapping[str, Sequence[PersonChange]], files: Iterable[str], images: ImageSource
) -> dict[str, list[Picture]]:
    """Draws the people of some groups, in the order of files and frames, so that a video is read once.

    Args:
        groups: Name → people.
        files: Names of all files in their order.
        images: Source of the images.

    Returns:
        Name → a picture of each person.
    """
    rank = {file: index for index, file in enumerate(files)}
    people = sorted(itertools.chain(*groups.values()), key=lambda change: (rank[change.file], change.key))
    pictures = {id(change): _picture(change, images) for change in people}
    return {name: [pictures[id(change)] for change in group] for name, group in groups.items()}


def frame_name(index: int, image: str) -> str:
    """Returns what a frame is called on a page."""
    return f"frame {index}" + (f": {image}" if image else "")


def _picture(change: PersonChange, images: ImageSource) -> Picture:
    """Draws a person. An error is shown in place of the picture and does not end the run."""
    (track_id,) = change.before.track_ids
    who = "" if track_id is None else f", track {track_id}"
    title = f"{change.sequence}, {frame_name(change.key.frame, change.before.image)}{who}"

    facts = []
    if change.found is not None:
        facts.append("right keypoints {0.right} → {1.right}, wrong ones {0.wrong} → {1.wrong}".format(*change.found))
    if not np.isnan(change.moved):
        facts.append(f"moved by {change.moved:.2f} head sizes (mean of what moved)")
    old, new = (own.in_skeleton(change.before.skeleton).present.any(axis=0) for own in (change.before, change.after))
    for what, is_so in (("dropped", old & ~new), ("added", new & ~old)):
        if is_so.any():
            facts.append(f"{is_so.sum()} {what}")

    caption = "; ".join(facts)
    try:
        return Picture(title, caption, _draw(images.read(change.before), change))
    except Exception as error:
        return Picture(title, caption, problem=str(error) or type(error).__name__)


def _draw(image: Image, change: PersonChange) -> dict[str, bytes]:
    """Returns a JPEG file of the person before, after and, if there is one, of the truth, by their names."""
    people = {
        "input": DrawnPeople.from_frame(change.before, min_score=0.0),
        "refined": DrawnPeople.from_frame(change.after, change.before, min_score=0.0),
    }
    if change.truth is not None:
        people["truth"] = DrawnPeople.from_frame(change.truth, min_score=0.0)

    points = np.concatenate([own.poses.reshape(-1, 2) for own in people.values()])
    points = points[np.isfinite(points).all(axis=1)]
    if len(points):  # keypoints far off would make the person small
        middle, head = np.median(points, axis=0), float(people["input"].head_sizes[0])
        points = np.clip(points, middle - _REACH * head, middle + _REACH * head)

    part, factor, shift = crop_around(image, points)
    return {
        name: jpeg_bytes(draw_people(part, own.without_labels().scaled(factor, shift))) for name, own in people.items()
    }
