"""Small data sets of drawn people, each in the tree and the format in which it is downloaded."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from conftest import pose_errors

from hpr.formats import FORMATS, PoseTrack18
from hpr.poses import Frame, PoseSequence
from hpr.synthetic.tree import write_tree

SIZE = (200, 150)
CROWD = (10, 20, 40, 30)
"""x, y, width and height of COCO's and CrowdPose's crowd."""

IMAGES = {
    "posetrack17": "images/clip/{split}_{number:06d}.jpg",
    "posetrack18": "images/{split}/clip/{number:06d}.jpg",
    "posetrack21": "images/{split}/clip/{number:06d}.jpg",
    "coco": "{split}2017/{number:012d}.jpg",
    "crowdpose": "images/{number}.jpg",
    "mpii": "images/{number:09d}.jpg",
}
ANNOTATIONS = {
    "posetrack17": "annotations/{split}/clip.json",
    "posetrack18": "annotations/{split}/clip.json",
    "posetrack21": "posetrack_data/{split}/clip.json",
    "coco": "annotations/person_keypoints_{split}2017.json",
    "crowdpose": "json/crowdpose_{split}.json",
    "mpii": "annot/{split}.json",
}


def annotations(name: str, split: str) -> str:
    """Returns the file of a split, "train" or "val", in a data set's folder."""
    return ANNOTATIONS[name].format(split="valid" if (name, split) == ("mpii", "val") else split)


def draw(folder: Path, clips: tuple[int, int] = (0, 1)) -> list[Frame]:
    """Draws two clips of two frames each; returns the frames with people."""
    write_tree(folder, [(3, clip) for clip in clips], 2, errors=pose_errors(0.05), held_out=False, size=SIZE)
    return read(folder)


def read(folder: Path) -> list[Frame]:
    """Returns the frames with people of a folder that `draw` filled."""
    paths = sorted((folder / "annotations").iterdir())
    return [frame for path in paths for frame in PoseTrack18().read(path)[0].frames if len(frame)]


def write(name: str, drawn: Path, frames: list[Frame], root: Path) -> None:
    """Writes a data set of frames whose images are in the folder `drawn`; the validation has the first one again."""
    for split, own_frames, first in (("train", frames, 100), ("val", frames[:1], 200)):
        own = []
        for number, frame in enumerate(own_frames, first):
            image = IMAGES[name].format(split=split, number=number)
            (root / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(drawn / frame.image, root / image)
            short = image if name.startswith("posetrack") else Path(image).name
            people = np.arange(len(frame))
            own.append(replace(frame, image=short, track_ids=tuple(people.tolist()), records=np.full(len(frame), -1)))

        path, file_format = root / annotations(name, split), FORMATS[name]()
        file_format.write([PoseSequence(path.stem, own)], path)
        if name in ("coco", "crowdpose"):
            document = json.loads(path.read_text())
            document["annotations"] += _unposed(document["images"][0]["id"], len(file_format.skeletons[0]))
            path.write_text(json.dumps(document))


def _unposed(image_id: int, keypoints: int) -> list[dict[str, object]]:
    """Returns a crowd, with the runs of its mask, and a person without keypoints, with a box, in one image."""
    mask = np.zeros(SIZE, bool)  # down the columns
    x, y, width, height = CROWD
    mask[x : x + width, y : y + height] = True
    changes = np.flatnonzero(np.diff(mask.ravel())) + 1
    runs = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    common = {"image_id": image_id, "category_id": 1, "keypoints": [0] * 3 * keypoints, "num_keypoints": 0}
    crowd = {"id": 9001, "iscrowd": 1, "segmentation": {"size": [SIZE[1], SIZE[0]], "counts": runs}, "bbox": CROWD}
    person = {"id": 9002, "iscrowd": 0, "bbox": [150, 100, 20, 30], "area": 600}
    return [{**common, "area": 1200, **crowd}, {**common, **person}]
