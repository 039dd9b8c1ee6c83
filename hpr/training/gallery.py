"""A picture of the kinds of mistakes that training makes in true poses."""

from typing import Any

import cv2
import numpy as np

from hpr.images import Image
from hpr.poses import FloatArray
from hpr.report.drawing import draw_poses, tile
from hpr.skeleton import POSETRACK15, Skeleton
from hpr.pose_errors.draw import KEYPOINT_KINDS, PoseErrors
from hpr.seeds import Purpose, generator
from hpr.synthetic.scene import Clip

_KINDS = ("jitter", "inversion", "swap", "miss", "absent")
_SHARE = 0.5
_HEIGHT, _WIDTH = 300, 200
_ERROR = (255, 40, 60)
_MIN_PERSON_HEIGHT = 300


def mistakes_picture(errors: PoseErrors, seed: int, skeleton: Skeleton = POSETRACK15) -> Image:
    """Draws one person's true pose, each kind of mistake alone in about half of the keypoints, and a usual mixture.

    Args:
        errors: The usual mixture.
        seed: Of the scene and the mistakes.
        skeleton: Of the poses.
    """
    image, true_poses = _scene(seed)
    poses = POSETRACK15.convert(true_poses, skeleton)
    pictures = {"truth": draw_poses(image, poses[:1], skeleton)}
    for title, model in {**{kind: _only(kind) for kind in (*_KINDS, "shift")}, "mixed": errors}.items():
        random = generator(Purpose.PICTURE_ESTIMATE, seed, len(pictures))
        estimate, _ = model.draw(poses[0], poses[1:], skeleton, random)
        pictures[title] = draw_poses(image, estimate[None], skeleton)
        _draw_errors(pictures[title], estimate, poses[0])
    return tile([list(pictures.values())], list(pictures), _WIDTH)


def _draw_errors(picture: Image, estimate: FloatArray, truth: FloatArray) -> None:
    """Draws lines from where keypoints (K, 2) are to where they should be, if that is more than 6 pixels off."""
    for wrong, right in zip(estimate, truth, strict=True):
        if np.linalg.norm(wrong - right) > 6:  # not so for NaN
            start, end = (tuple(point.round().astype(int).tolist()) for point in (wrong, right))
            cv2.line(picture, start, end, _ERROR, 1, cv2.LINE_AA)


def _only(kind: str) -> PoseErrors:
    """Returns a model of one kind of mistake."""
    chances: dict[str, Any] = {name: dict.fromkeys(KEYPOINT_KINDS, _SHARE if name == kind else 0.0) for name in _KINDS}
    return PoseErrors(**chances, shift=float(kind == "shift"), crowded_swap=1.0, few_keypoints_miss=1.0)


def _scene(seed: int) -> tuple[Image, FloatArray]:
    """Returns a part of a drawn frame that shows one person whole beside others.

    Returns:
        The image (2 * _HEIGHT, 2 * _WIDTH, 3), and the keypoints (N, 15, 2) in it, that person's first.
    """
    attempt = 0
    while True:
        image, people = Clip((Purpose.PICTURE_SCENE, seed, attempt), size=(960, 720)).frame(0.5)
        poses = np.array([person.annotated for person in people])
        for number in range(len(poses)):
            if part := _part_around(image, poses, number):
                return part
        attempt += 1


def _part_around(image: Image, poses: FloatArray, number: int) -> tuple[Image, FloatArray] | None:
    """Returns what `_scene` does of one person among poses (N, 15, 2); None if the person does not suit."""
    pose, others = poses[number], np.delete(poses, number, axis=0)
    if np.isnan(pose).any() or len(others) == 0:
        return None
    low, high = pose.min(axis=0), pose.max(axis=0)
    height = 1.25 * (high - low)[1]
    x, y = ((low + high) / 2 - [height * _WIDTH / _HEIGHT / 2, height / 2]).round().astype(int).tolist()
    x1, y1 = x + round(height * _WIDTH / _HEIGHT), y + round(height)

    has_company = ((others > [x, y]) & (others < [x1, y1])).all(axis=2).any()
    is_inside = x >= 0 and y >= 0 and x1 <= image.shape[1] and y1 <= image.shape[0]
    if not has_company or not is_inside or height <= _MIN_PERSON_HEIGHT:
        return None
    part = cv2.resize(image[y:y1, x:x1], (2 * _WIDTH, 2 * _HEIGHT), interpolation=cv2.INTER_AREA)
    ordered = np.concatenate([pose[None], others])
    return np.asarray(part, np.uint8), (ordered - [x, y]) * (2 * _HEIGHT / (y1 - y))
