"""Draws the pictures of the docs: python tools/docs_pictures.py REFINED, made by `python refine.py objective=map`.

Writes docs/refined_sample.jpg, the people of the bundled sample whose poses improved most, docs/pose_errors.jpg, the
kinds of mistakes that training draws, and docs/refined_photographs.jpg, two photographs in the public domain that come
with Matplotlib and scikit-image (pip install scikit-image), with the estimates of docs/photographs.json refined.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpr import PoseRefiner
from hpr.formats import PoseTrack18
from hpr.images import Image, ImageFolder
from hpr.pose_errors.draw import KEYPOINT_KINDS, PoseErrors
from hpr.poses import FloatArray, Frame, FrameKey
from hpr.refine.results import PersonKey
from hpr.report.canvas import resize, save_jpeg, write_text
from hpr.report.drawing import DrawnPeople, draw_people, draw_poses, previous_poses
from hpr.seeds import Purpose, generator
from hpr.skeleton import COCO17, POSETRACK15
from hpr.synthetic.scene import Clip

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "hpr" / "assets" / "sample"

WIDTH, HEIGHT = 200, 280  # pixels of one panel
GAP = 8
KINDS = ("jitter", "inversion", "swap", "miss", "absent")


def refined_sample(predictions: Path, count: int = 6) -> Image:
    """Draws the people whose poses refining improved most by the annotations, each person of a clip once.

    Args:
        predictions: Folder of the refined sample.
        count: Number of people.
    """
    best: dict[object, tuple[float, list[Image]]] = {}
    folders = SAMPLE / "predictions", predictions, SAMPLE / "annotations"
    for path in sorted(predictions.iterdir()):
        clips = [PoseTrack18().read(folder / path.name)[0].frames for folder in folders]
        for given, refined, annotated in zip(*clips, strict=True):
            before, after, truth = (frame.in_skeleton(POSETRACK15) for frame in (given, refined, annotated))
            previous, image = previous_poses(before, after), ImageFolder(SAMPLE).read(before)
            for index, track_id in enumerate(after.track_ids):
                if track_id not in truth.track_ids:
                    continue
                true = truth.poses[truth.track_ids.index(track_id)]
                extent = np.ptp(true[~np.isnan(true[:, 0])], axis=0)[1]
                poses = np.stack([previous[index], after.poses[index]])
                old, new = np.linalg.norm(poses - true, axis=2).clip(0, extent / 2).mean(axis=1) / extent
                # Comparisons are False for NaN, where a keypoint is missing.
                if extent > HEIGHT / 2 and old - new > best.get((path.name, track_id), (0.0, []))[0]:
                    own = DrawnPeople.from_frame(after.select(np.array([index])), before)
                    drawn = (
                        draw_poses(image, poses[:1], POSETRACK15),
                        draw_people(image, own.without_labels()),
                    )
                    best[path.name, track_id] = float(old - new), [crop(picture, true) for picture in drawn]

    chosen = sorted(best.values(), key=lambda one: -one[0])[:count]
    return side_by_side([panel for _, panels in chosen for panel in panels], ["input", "refined"] * len(chosen))


def refined_photographs() -> Image:
    """Draws real people with real estimates and what the photograph refiner makes of them."""
    import matplotlib.cbook
    import skimage.data

    grace_hopper = cv2.imread(str(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    assert grace_hopper is not None
    images = {"grace_hopper": grace_hopper[:, :, ::-1].copy(), "astronaut": skimage.data.astronaut()}
    refiner = PoseRefiner.load(ROOT / "hpr" / "assets" / "photo.safetensors")
    panels, titles = [], []
    for record in json.loads((ROOT / "docs" / "photographs.json").read_text()):
        image, estimate = images[record["image"]], np.reshape(record["keypoints"], (1, 17, 3))
        box = np.array([record["bbox"]], float) @ [[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]
        frame = Frame("", COCO17, estimate[..., :2], estimate[..., 2], boxes=box)
        (pose,), (scores,), (scale,), _ = refiner.network_poses(frame)
        person = refiner.crop_person(image, pose, PersonKey(FrameKey(0, 0), 0), scale, scores, box[0])
        (refined,) = refiner.refine_crops([person])

        for found, confidence in ((pose, scores), (refined.keypoints, refined.confidence)):
            drawn = draw_poses(image, np.where(confidence[:17, None] > 0.2, found[:17], np.nan)[None], COCO17)
            panels.append(np.asarray(cv2.resize(drawn, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8))
        titles += [record["estimator"], "refined"]
    return side_by_side(panels, titles)


def pose_errors(errors: PoseErrors, seed: int = 3) -> Image:
    """Draws a true pose, each kind of mistake alone in about half of its keypoints, and a usual mixture."""
    image, poses = whole_person(seed)
    models = {kind: single_kind(kind) for kind in (*KINDS, "shift")} | {"mixed": errors}
    panels = [crop(draw_poses(image, poses[:1], POSETRACK15), poses[0])]
    for index, model in enumerate(models.values(), 1):
        estimate, _ = model.draw(poses[0], poses[1:], POSETRACK15, generator(Purpose.PICTURE_ESTIMATE, seed, index))
        panels.append(crop(draw_poses(image, estimate[None], POSETRACK15), poses[0]))
    return side_by_side(panels, ["truth", *models], columns=4)


def single_kind(kind: str) -> PoseErrors:
    """Returns a model that makes one kind of mistake only."""
    rates: dict[str, Any] = {name: dict.fromkeys(KEYPOINT_KINDS, 0.5 * (name == kind)) for name in KINDS}
    return PoseErrors(**rates, shift=float(kind == "shift"), crowded_swap=1.0, few_keypoints_miss=1.0)


def whole_person(seed: int) -> tuple[Image, FloatArray]:
    """Returns a drawn image (H, W, 3) and its poses (N, 15, 2); the first one is complete and not alone."""
    for attempt in range(1000):
        image, people = Clip((Purpose.PICTURE_SCENE, seed, attempt), size=(960, 720)).frame(0.5)
        poses = np.array([person.annotated for person in people])
        for index, pose in enumerate(poses):
            if len(poses) > 1 and np.ptp(pose, axis=0)[1] > 300:  # False for NaN
                return image, np.concatenate([pose[None], np.delete(poses, index, axis=0)])
    raise RuntimeError("no drawn scene shows a whole person")


def crop(picture: Image, pose: FloatArray) -> Image:
    """Returns the part (HEIGHT, WIDTH, 3) of a picture around a pose (K, 2)."""
    low, high = np.nanmin(pose, axis=0), np.nanmax(pose, axis=0)
    height = 1.35 * max(*(high - low) / [WIDTH / HEIGHT, 1])
    x, y = (low + high) / 2 - [height * WIDTH / HEIGHT / 2, height / 2]
    factor = HEIGHT / height
    window = np.array([[factor, 0, -factor * x], [0, factor, -factor * y]])
    shrunk, ratio, _ = resize(picture, min(1.0, factor))  # first, since warping alone would alias
    window[:, :2] /= ratio
    grey = (90, 90, 90)
    return np.asarray(
        cv2.warpAffine(shrunk, window, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderValue=grey), np.uint8
    )


def side_by_side(panels: Sequence[Image], titles: Sequence[str], columns: int = 6) -> Image:
    """Returns titled panels in rows on white."""
    rows = -(-len(panels) // columns)
    sheet = np.full((rows * (HEIGHT + GAP), min(columns, len(panels)) * (WIDTH + GAP), 3), 255, np.uint8)
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        titled = panel.copy()
        write_text(titled, title, (6, 4), 16)
        y, x = index // columns * (HEIGHT + GAP), index % columns * (WIDTH + GAP)
        sheet[y : y + HEIGHT, x : x + WIDTH] = titled
    return sheet[:-GAP, :-GAP]


if __name__ == "__main__":
    from hpr.cli import app, train
    from hpr.cli.components import build

    plausible = build("pose_errors", app.compose(train.COMMAND).pose_errors)
    save_jpeg(refined_sample(Path(sys.argv[1]) / "predictions"), ROOT / "docs" / "refined_sample.jpg")
    save_jpeg(pose_errors(plausible), ROOT / "docs" / "pose_errors.jpg")
    save_jpeg(refined_photographs(), ROOT / "docs" / "refined_photographs.jpg")
    print("wrote docs/refined_sample.jpg, docs/pose_errors.jpg and docs/refined_photographs.jpg")
