"""`hpr learn-errors`."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, fail, succeed
from hydra.utils import instantiate
from omegaconf import OmegaConf

from hpr.pose_errors.draw import KEYPOINT_KINDS, PoseErrors
from hpr.synthetic.tree import write_tree

TABLES = ("jitter", "miss", "inversion", "swap", "absent", "extra")
KEYS = OmegaConf.load(ROOT / "conf" / "pose_errors" / "plausible.yaml").keys()


def model(**rates: Any) -> PoseErrors:
    tables: dict[str, Any] = {name: dict.fromkeys(KEYPOINT_KINDS, rates.pop(name, 0.0)) for name in TABLES}
    return PoseErrors(**tables, shift=0.0, crowded_swap=1.0, few_keypoints_miss=1.0, **rates)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn clips, with predictions whose mistakes are jitter in half of the keypoints."""
    folder = tmp_path_factory.mktemp("tree")
    write_tree(folder, [(1,), (2,)], 3, model(jitter=0.5, missed_person=0.0), False, (160, 120))
    return folder


def test_table_file_and_training(tree: Path, tmp_path: Path) -> None:
    folders = (f"dataset.annotations={tree / 'annotations'}", f"dataset.predictions={tree / 'predictions'}")
    output = succeed("learn-errors", *folders, cwd=tmp_path)
    lines = output.strip().split("\n")
    assert lines[0].split() == ["%", *TABLES, "keypoints"]
    assert [line.split()[0] for line in lines[1:8]] == list(KEYPOINT_KINDS)
    assert 35 < float(lines[1].split()[1]) < 65

    written = tmp_path / "output" / "pose_errors" / "learnt.yaml"
    content = OmegaConf.load(written)
    assert content.keys() == KEYS
    assert isinstance(instantiate(content, _convert_="all"), PoseErrors)
    assert content.missed_person == 0

    assert shlex.split(lines[-1]) == ["hpr", "train", "--config-dir", "output", "pose_errors=learnt"]


def test_annotations_of_another_format(tree: Path, tmp_path: Path) -> None:
    """COCO's results for PoseTrack's pictures, in COCO's annotations; in these is also someone without keypoints."""
    folder, truth = tree / "predictions", tmp_path / "truth.json"
    succeed("convert", f"poses={tree / 'annotations' / 'clip_0001.json'}", f"output={truth}", "format=coco")
    estimates = tmp_path / "estimates.npz"
    succeed("convert", f"poses={folder / 'clip_0001.json'}", f"output={estimates}", "format=npz")
    document = json.loads(truth.read_text())
    first = document["annotations"][0]
    nobody = {**first, "id": 10**6, "keypoints": [0] * len(first["keypoints"]), "num_keypoints": 0}
    document["annotations"] = [{**nobody, "bbox": [-1000, -1000, 3000, 3000]}, *document["annotations"][1:]]
    truth.write_text(json.dumps(document))

    output = tmp_path / "pose_errors" / "mine.yaml"
    words = (f"dataset.annotations={truth}", f"dataset.predictions={estimates}", f"output={output}")
    printed = succeed("learn-errors", *words)
    assert f"hpr train --config-dir {tmp_path} pose_errors=mine" in printed
    assert OmegaConf.load(output).false_person == 0  # it is of the one without keypoints


def test_nothing_in_common(tree: Path, tmp_path: Path) -> None:
    """Predictions for other clips, and of nobody."""
    folder = tmp_path / "predictions"
    folder.mkdir()
    document = json.loads((tree / "predictions" / "clip_0001.json").read_text())
    (folder / "other.json").write_text(json.dumps(document))
    words = (f"dataset.annotations={tree / 'annotations'}", f"dataset.predictions={folder}")
    assert "expected a file named like one of" in fail("learn-errors", *words, cwd=tmp_path)

    (folder / "other.json").unlink()
    (folder / "clip_0001.json").write_text(json.dumps({**document, "annotations": []}))
    assert "annotated people, found none" in fail("learn-errors", *words, cwd=tmp_path)
    assert not (tmp_path / "output").exists()
