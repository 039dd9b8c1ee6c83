"""A picture of the kinds of mistakes that training makes in true poses."""

import cv2
import numpy as np

from hpr.drawing import Image, draw_poses, tile
from hpr.poses import FloatArray
from hpr.training.pose_errors import JOINT_KINDS, PoseErrors
from hpr.training.synthetic.scene import Clip

_KINDS = ("jitter", "inversion", "swap", "miss", "absent", "shift")
_SHARE = 0.5
_HEIGHT, _WIDTH = 300, 200
_ERROR = (255, 40, 60)


def mistakes_picture(errors: PoseErrors, seed: int) -> Image:
    """Draws one person's true pose, each kind of mistake alone in about half of the joints, and a usual mixture.

    Args:
        errors: The usual mixture.
        seed: Of the scene and the mistakes.
    """
    image, joints = _scene(seed)
    pictures = {"truth": draw_poses(image, joints[:1])}
    for title, model in {**{kind: _only(kind) for kind in _KINDS}, "mixed": errors}.items():
        estimate, _ = model.draw(joints[0], joints[1:], np.random.default_rng((seed, len(pictures))))
        pictures[title] = draw_poses(image, estimate[None])
        # From where a joint is to where it should be.
        for wrong, right in zip(estimate, joints[0], strict=True):
            if not np.isnan([*wrong, *right]).any() and np.linalg.norm(wrong - right) > 6:
                start, end = (tuple(point.round().astype(int).tolist()) for point in (wrong, right))
                cv2.line(pictures[title], start, end, _ERROR, 1, cv2.LINE_AA)
    return tile([list(pictures.values())], list(pictures), _WIDTH)


def _only(kind: str) -> PoseErrors:
    """Returns a model of one kind of mistake."""
    none, some = dict.fromkeys(JOINT_KINDS, 0.0), dict.fromkeys(JOINT_KINDS, _SHARE)
    tables = {name: some if name == kind else none for name in _KINDS if name != "shift"}
    return PoseErrors(**tables, shift=float(kind == "shift"), crowded_swap=1.0, few_joints_miss=1.0)


def _scene(seed: int) -> tuple[Image, FloatArray]:
    """Returns a part of the first frame that shows somebody whole beside others, and the joints (N, 15, 2) in it."""
    attempt = 0
    while True:
        image, people = Clip((seed, attempt), size=(960, 720)).frame(0.5)
        joints = np.array([person.annotated for person in people])
        for number, pose in enumerate(joints):
            if np.isnan(pose).any() or len(joints) < 2:
                continue
            low, high = pose.min(axis=0), pose.max(axis=0)
            height = 1.25 * (high - low)[1]
            x, y = ((low + high) / 2 - [height * _WIDTH / _HEIGHT / 2, height / 2]).round().astype(int).tolist()
            x1, y1 = x + round(height * _WIDTH / _HEIGHT), y + round(height)
            others = np.delete(joints, number, axis=0)
            beside = ((others > [x, y]) & (others < [x1, y1])).all(axis=2).any()
            if beside and height > 300 and x >= 0 and y >= 0 and x1 <= image.shape[1] and y1 <= image.shape[0]:
                part = cv2.resize(image[y:y1, x:x1], (2 * _WIDTH, 2 * _HEIGHT), interpolation=cv2.INTER_AREA)
                ordered = np.concatenate([pose[None], others])
                return np.asarray(part, np.uint8), (ordered - [x, y]) * (2 * _HEIGHT / (y1 - y))
        attempt += 1
