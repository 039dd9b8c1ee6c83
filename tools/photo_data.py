"""Prepares what the photograph refiner learns from: `hpr train +experiment=photo dataset.root=OUTPUT`.

    python tools/photo_data.py OUTPUT PHOTOS/coco_train*8 PHOTOS/mpii*3 PHOTOS/lspet …

Each folder has `images/`, annotations in COCO's form with any keypoint names (`person_keypoints.json`), and
`estimates.jsonl`: in each line what an estimator found in an annotated box, as `ann_id`, `estimator` and 17 `keypoints`
of x, y and score. OUTPUT gets links to the images and

- `train.json`: annotations of the 19 keypoints of hpr.skeleton.PHOTO19, each folder's as often as said. People whose
  labels disagree with all estimators, while these agree with each other, are left out. Data sets without faces get
  those keypoints of the face that MoveNet Thunder and Lightning place alike.
- `dev.json`: the people of four blocks of 50 images of each data set of 1,000 images or more. The five images before
  and after a block are in neither file: frames of one video are neighbours.
- `estimates.json` and `dev_estimates.json`: their estimates as COCO results; for `dev.json` one of each person.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.skeleton import COCO17, PHOTO19

MIN_SIDE, MIN_LABELS = 40, 5
DEV_BLOCKS, DEV_IMAGES, DEV_GAP = 4, 50, 5
WRONG, ALIKE = 0.35, 0.5
"""Keypoint similarity of labels with estimates below which they are wrong, and of estimates that agree."""

Person = dict[str, Any]
FACE = range(5)


class Split:
    """The images, people and estimates of one part of the data, under new ids.

    Attributes:
        document: Annotations in COCO's form, of the keypoints of PHOTO19.
        estimates: COCO results of the same keypoints, with `ann_id`.
    """

    def __init__(self) -> None:
        category = {"id": 1, "name": "person", "keypoints": list(PHOTO19.names), "skeleton": []}
        self.document: dict[str, Any] = {"images": [], "annotations": [], "categories": [category]}
        self.estimates: list[Person] = []

    def add(self, folder: str, image: Person, people: list[Person], estimates: list[dict[str, np.ndarray]]) -> None:
        """Adds an image and people in it, with each person's estimates (17, 3) by estimator."""
        image_id = len(self.document["images"]) + 1
        self.document["images"].append({**image, "id": image_id, "file_name": f"{folder}/{image['file_name']}"})
        for person, own in zip(people, estimates, strict=True):
            ann_id = len(self.document["annotations"]) + 1
            ids = {"id": ann_id, "image_id": image_id, "category_id": 1}
            self.document["annotations"].append({**person, **ids})
            for estimator, pose in own.items():
                result = {"ann_id": ann_id, "image_id": image_id, "category_id": 1, "bbox": person["bbox"]}
                keypoints = np.concatenate([pose, np.zeros((len(PHOTO19) - len(pose), 3))])
                result |= {"keypoints": keypoints.flatten().tolist(), "score": float(pose[:, 2].mean())}
                self.estimates.append({**result, "estimator": estimator})

    def write(self, annotations: Path, estimates: Path) -> None:
        """Writes two JSON files, each complete or not at all."""
        for path, content in ((annotations, self.document), (estimates, self.estimates)):
            write_json(path, content)


def main(output: Path, words: list[str]) -> None:
    """Writes the files of all folders, FOLDER or FOLDER*REPEATS, and prints what became of them."""
    output.mkdir(parents=True, exist_ok=True)
    train, dev = Split(), Split()
    for word in words:
        folder, repeats = Path(word.partition("*")[0]), int(word.partition("*")[2] or 1)
        document, found = read_json(folder / "person_keypoints.json"), estimates_of(folder)
        names, by_image = document["categories"][0]["keypoints"], dict[int, list[Person]]()
        for person in document["annotations"]:
            truth = in_photo19(person, names)
            is_usable = (truth[:, 2] > 0).sum() >= MIN_LABELS and max(person["bbox"][2:]) >= MIN_SIDE
            if is_usable and not is_mislabelled(truth, person["area"], found.get(person["id"], {})):
                by_image.setdefault(person["image_id"], []).append({**person, "keypoints": truth})

        num_kept = 0
        images = sorted(document["images"], key=lambda image: image["file_name"])
        for image, use in zip(images, dev_split(len(images)), strict=True):
            people = by_image.get(image["id"], [])
            own = [found.get(person["id"], {}) for person in people]
            if use == "dev":
                first = [dict(list(estimates.items())[:1]) for estimates in own]
                dev.add(folder.name, image, [flattened(person) for person in people], first)
            elif use == "train" and people:
                num_kept += len(people)
                pairs = zip(people, own, strict=True)
                learnt = [flattened(person, with_face(person["keypoints"], e)) for person, e in pairs]
                for _ in range(repeats):
                    train.add(folder.name, image, learnt, own)
        if not (output / folder.name).exists():
            (output / folder.name).symlink_to((folder / "images").resolve())
        print(
            f"{folder.name:<16} {len(document['annotations']):>6} people, {num_kept:>6} to learn from, {repeats} times"
        )

    train.write(output / "train.json", output / "estimates.json")
    dev.write(output / "dev.json", output / "dev_estimates.json")
    for name, split in (("train", train), ("dev", dev)):
        print(f"{name:<16} {len(split.document['annotations']):>6} people, {len(split.estimates):>6} estimates")


def flattened(person: Person, keypoints: np.ndarray | None = None) -> Person:
    """Returns a person with a list of numbers as keypoints, by default those that it has as (19, 3)."""
    own = person["keypoints"] if keypoints is None else keypoints
    return {**person, "keypoints": own.flatten().tolist()}


def estimates_of(folder: Path) -> dict[int, dict[str, np.ndarray]]:
    """Returns each annotation's estimates (17, 3) by estimator; none where the folder has no file of them."""
    found: dict[int, dict[str, np.ndarray]] = {}
    path = folder / "estimates.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        result = json.loads(line)
        if "keypoints" in result:
            found.setdefault(result["ann_id"], {})[result["estimator"]] = np.reshape(result["keypoints"], (17, 3))
    return found


def dev_split(count: int) -> list[str]:
    """Returns what each of `count` images, sorted by name, is used for: "train", "dev" or "none"."""
    uses = ["train"] * count
    for block in range(DEV_BLOCKS if count >= 1000 else 0):
        start = int((block + 0.5) * count / DEV_BLOCKS)
        uses[start - DEV_GAP : start + DEV_IMAGES + DEV_GAP] = ["none"] * (DEV_IMAGES + 2 * DEV_GAP)
        uses[start : start + DEV_IMAGES] = ["dev"] * DEV_IMAGES
    return uses


def in_photo19(person: Person, names: list[str]) -> np.ndarray:
    """Returns (19, 3) x, y and v; zeros for keypoints that the data set lacks."""
    own = dict(zip(names, np.reshape(person["keypoints"], (-1, 3)).astype(float), strict=True))
    return np.array([own.get(name, np.zeros(3)) for name in PHOTO19.names])


def similarity(points: np.ndarray, other: np.ndarray, area: float) -> float:
    """Returns the mean keypoint similarity of two poses (17, 3) over the keypoints of the first, without the face."""
    known = len(FACE) + np.flatnonzero(points[len(FACE) : 17, 2] > 0)
    squared = ((points[known, :2] - other[known, :2]) ** 2).sum(axis=1)
    return float(np.exp(-squared / (2 * area * (2 * np.array(COCO17.sigmas)[known]) ** 2)).mean())


def is_mislabelled(truth: np.ndarray, area: float, estimates: dict[str, np.ndarray]) -> bool:
    """Returns whether three or more estimators agree with each other and not with the labels."""
    found = list(estimates.values())
    if len(found) < 3 or not (truth[len(FACE) : 17, 2] > 0).any():
        return False
    is_wrong = max(similarity(truth, other, area) for other in found) < WRONG
    return is_wrong and min(similarity(found[-1], other, area) for other in found[:-1]) > ALIKE


def with_face(truth: np.ndarray, estimates: dict[str, np.ndarray]) -> np.ndarray:
    """Returns (19, 3) with keypoints of the face on which two estimators agree, where none is annotated."""
    if (truth[FACE, 2] > 0).any() or not {"thunder", "lightning"} <= estimates.keys():
        return truth
    first, second = estimates["thunder"][FACE], estimates["lightning"][FACE]
    size = np.ptp(truth[truth[:, 2] > 0, :2], axis=0).max()
    is_alike = np.linalg.norm(first[:, :2] - second[:, :2], axis=1) < 0.03 * size
    is_sure = is_alike & (first[:, 2] > 0.35) & (second[:, 2] > 0.25)
    face = np.where(is_sure[:, None], np.column_stack([first[:, :2], np.ones(len(FACE))]), 0.0)
    return np.concatenate([face, truth[len(FACE) :]])


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"usage: python {sys.argv[0]} OUTPUT FOLDER…")
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except UserError as error:
        sys.exit(f"error: {error}")
