"""Synthetic clips on disk, as a PoseTrack 2018 tree: images, annotations, and predictions with errors."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hpr.files import replacing
from hpr.poses import FloatArray
from hpr.skeleton import NUM_JOINTS, POSETRACK18_KEYPOINTS, POSETRACK18_SLOTS
from hpr.training.pose_errors import PoseErrors, draw_scores
from hpr.training.synthetic.scene import OUTSIDE, Clip, PersonTruth

MIN_JOINTS = 4
"""Whoever has fewer joints to be seen is not annotated; an ignore region is put there instead."""

FRAMES_PER_SECOND = 10.0

_MISSED_PERSON, _FALSE_PERSON, _IDENTITY_SWITCH = 0.05, 0.10, 0.02


def write_tree(
    folder: Path,
    seeds: Iterable[tuple[int, ...]],
    frames: int,
    errors: PoseErrors,
    held_out: bool,
    size: tuple[int, int] | None = None,
) -> None:
    """Writes clips to `folder/images/<clip>`, `folder/annotations` and `folder/predictions`.

    Args:
        folder: Where to.
        seeds: One for each clip, which is named after it.
        frames: Of each clip.
        errors: What the predictions get wrong about each pose. Besides, people are missed (5%) or seen
            where nobody is (in 10% of the frames), and two people change their track ids (2%).
        held_out: Whether people wear what training never draws.
        size: Width and height of the images; by default different for each clip.

    Raises:
        UserError: The folder cannot be written to.
    """
    for seed in tqdm(list(seeds), desc="drawing clips", unit=" clips", disable=None, leave=False):
        name = "clip_" + "_".join(f"{number:04d}" for number in seed)
        images, truth, predictions = _draw_clip(folder / "images" / name, seed, frames, errors, held_out, size)
        categories = [{"id": 1, "name": "person", "keypoints": list(POSETRACK18_KEYPOINTS)}]
        for kind, annotations in (("annotations", truth), ("predictions", predictions)):
            for number, annotation in enumerate(annotations):
                annotation["id"] = number
            document = {"images": images, "annotations": annotations, "categories": categories}
            with replacing(folder / kind / f"{name}.json") as temporary:
                temporary.write_text(json.dumps(document, separators=(",", ":")))


def _draw_clip(
    folder: Path,
    seed: tuple[int, ...],
    frames: int,
    errors: PoseErrors,
    held_out: bool,
    size: tuple[int, int] | None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Writes the images of a clip and returns the records of its images, its truth and its predictions."""
    clip, random = Clip(seed, held_out, size), np.random.default_rng((*seed, 1))
    images: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    tracks: dict[int, int] = {}
    for number in range(frames):
        encoded, people = clip.encoded_frame(number / FRAMES_PER_SECOND)
        path = folder / f"{number:06d}.jpg"
        with replacing(path) as temporary:
            temporary.write_bytes(encoded)
        annotated = [person for person in people if _joint_count(person) >= MIN_JOINTS]
        hidden = [_region(person, clip.size) for person in people if 0 < _joint_count(person) < MIN_JOINTS]
        images.append(
            {
                "id": number,
                "frame_id": number,
                "file_name": f"images/{folder.name}/{path.name}",
                "vid_id": folder.name,
                "nframes": frames,
                "is_labeled": True,
                "width": clip.size[0],
                "height": clip.size[1],
                "ignore_regions_x": [region[:, 0].tolist() for region in hidden],
                "ignore_regions_y": [region[:, 1].tolist() for region in hidden],
            }
        )
        truth += [{"image_id": number, **_truth_record(person)} for person in annotated]
        estimates = _estimates(annotated, clip.size, tracks, errors, random)
        predictions += [{"image_id": number, **estimate} for estimate in estimates]
    return images, truth, predictions


def _joint_count(person: PersonTruth) -> int:
    return int((~np.isnan(person.annotated[:, 0])).sum())


def _region(person: PersonTruth, size: tuple[int, int]) -> FloatArray:
    """Returns the corners (4, 2) of a box around the part of a person that lies in the image."""
    inside = person.joints[person.occlusion != OUTSIDE]
    x0, y0 = np.maximum(inside.min(axis=0) - 15, 0).round()
    x1, y1 = np.minimum(inside.max(axis=0) + 15, size).round()
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _truth_record(person: PersonTruth) -> dict[str, Any]:
    x0, y0, x1, y1 = person.head_box.round(2).tolist()
    occlusion = np.full(len(POSETRACK18_KEYPOINTS), OUTSIDE)
    occlusion[list(POSETRACK18_SLOTS)] = person.occlusion
    return {
        "track_id": person.track_id,
        "category_id": 1,
        "keypoints": _keypoints(person.annotated),
        "scores": [],
        "bbox": _box(person.annotated),
        "bbox_head": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
        "occlusion": occlusion.tolist(),
    }


def _estimates(
    people: list[PersonTruth],
    size: tuple[int, int],
    tracks: dict[int, int],
    errors: PoseErrors,
    random: np.random.Generator,
) -> list[dict[str, Any]]:
    """Returns what an estimator might have made of a frame.

    Args:
        people: In it.
        size: Width and height of the image.
        tracks: Predicted track id of each true one; changed where identities are switched.
        errors: What it gets wrong about each pose.
        random: Source of chance.
    """
    joints = np.array([person.annotated for person in people]).reshape(-1, NUM_JOINTS, 2)
    for person in people:
        tracks.setdefault(person.track_id, person.track_id)
    if len(people) > 1 and random.random() < _IDENTITY_SWITCH:
        a, b = (people[i].track_id for i in random.choice(len(people), 2, replace=False))
        tracks[a], tracks[b] = tracks[b], tracks[a]
    estimates = []
    for i, person in enumerate(people):
        if random.random() < _MISSED_PERSON:
            continue
        pose, mistakes = errors.draw(joints[i], np.delete(joints, i, axis=0), random)
        estimates.append(_estimate(pose, draw_scores(mistakes, random), tracks[person.track_id]))
    if len(people) and random.random() < _FALSE_PERSON:
        pose = joints[random.integers(len(joints))] * random.uniform(0.5, 1.0)
        pose += random.uniform(0, size) - np.nanmean(pose, axis=0)
        track = 1000 + int(random.integers(1000))
        estimates.append(_estimate(pose, random.uniform(0.05, 0.65, NUM_JOINTS), track))
    return estimates


def _estimate(pose: FloatArray, scores: FloatArray, track: int) -> dict[str, Any]:
    """Returns the record of a predicted person with joints (15, 2) and scores (15,)."""
    slots = np.zeros(len(POSETRACK18_KEYPOINTS))
    slots[list(POSETRACK18_SLOTS)] = np.where(np.isnan(pose[:, 0]), 0, scores).round(3)
    keypoints, box = _keypoints(pose), _box(pose)
    return {"track_id": track, "category_id": 1, "keypoints": keypoints, "scores": slots.tolist(), "bbox": box}


def _keypoints(joints: FloatArray) -> list[float]:
    """Returns the format's 17 triples, to a hundredth of a pixel."""
    triples = np.zeros((len(POSETRACK18_KEYPOINTS), 3))
    present = ~np.isnan(joints[:, 0])
    triples[np.array(POSETRACK18_SLOTS)[present]] = np.c_[joints[present].round(2), np.ones(present.sum())]
    return [int(value) if value.is_integer() else value for value in triples.ravel().tolist()]


def _box(joints: FloatArray) -> list[float]:
    """Returns x, y, width and height of the joints' box."""
    low, high = np.nanmin(joints, axis=0), np.nanmax(joints, axis=0)
    return [float(value) for value in np.concatenate([low, high - low]).round(1)]
