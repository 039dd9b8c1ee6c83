"""The recipes in conf/experiment: each trains on annotated files, and `hpr refine` takes its weights."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, read_report, stopped_after, succeed
from omegaconf import OmegaConf

from hpr.models.weights import load

RECIPES = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
SHORT = ["training.steps=2", "training.epochs=null", "training.batch_size=4", "training.num_workers=0"]
SHORT += [
    "canvas=[96,96]",
    "model=demo",
    "model.architecture=demo",
    "model.weights=${asset:demo.safetensors}",
    "device=cpu",
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn clip in PoseTrack's layout, with an estimator's predictions, and what those get wrong."""
    root = tmp_path_factory.mktemp("tree")
    succeed("make-sample", f"output_dir={root}", "clips=1", "frames=2", "width=120", "height=100")
    folders = [f"dataset.{name}={root / name}" for name in ("annotations", "predictions")]
    succeed("learn-errors", *folders, f"output={root}/pose_errors/learnt.yaml")
    return root


def dataset(tree: Path) -> list[str]:
    folders = [f"dataset.{part}.annotations={tree / 'annotations'}" for part in ("training", "validation")]
    return ["dataset=posetrack18", f"dataset.root={tree}", *folders]


@pytest.mark.parametrize("recipe", RECIPES)
def test_trains_and_refines(recipe: str, tree: Path, tmp_path: Path) -> None:
    """That for fine-tuning on learnt mistakes, and with the estimator's own predictions as the validation."""
    learnt = ["--config-dir", str(tree), "pose_errors=learnt", "pose_errors@validation_errors=learnt"]
    learnt.append(f"dataset.validation.predictions={tree / 'predictions'}")
    words = [*(learnt if recipe == "fine_tune" else []), f"+experiment={recipe}", *dataset(tree)]
    printed = succeed("train.py", *words, *SHORT, f"output_dir={tmp_path / 'run'}")
    assert "after 2 steps" in printed
    weights = tmp_path / "run" / "best.safetensors"
    assert load(weights)[1].step == "2"

    estimates = [f"dataset.predictions={tree / 'predictions'}", f"dataset.annotations={tree / 'annotations'}"]
    refined = ["model=demo", f"model.weights={weights}", "flip=false", "margin=50", "device=cpu"]
    succeed("refine.py", *dataset(tree)[:2], *estimates, *refined, f"output_dir={tmp_path / 'out'}")
    report = read_report(tmp_path / "out")
    assert report["persons"]["refined"] == report["persons"]["seen"] > 0


def test_a_run_in_epochs_continues_bit_for_bit(tree: Path, tmp_path: Path) -> None:
    """Across the end of an epoch, after which the people come in another order."""
    (path,) = (tree / "annotations").glob("*.json")
    people = sum(any(person["keypoints"][2::3]) for person in json.loads(path.read_text())["annotations"])
    steps = -(-people * 5 // 4)
    words = [*dataset(tree), *SHORT[2:], "training.batch_size=2", "training.steps=null", "training.epochs=2.5"]
    straight, stopped = (tmp_path / name for name in ("straight", "stopped"))
    assert f"after {steps} steps" in succeed("train.py", *words, f"output_dir={straight}")
    kept = OmegaConf.load(straight / "config.yaml").training
    assert (kept.steps, kept.epochs) == (steps, 2.5)

    with stopped_after(steps // 2):
        printed = succeed("train.py", *words, f"output_dir={stopped}", status=130)
    assert f"stopped after step {steps // 2};" in printed
    succeed("train.py", *words, f"output_dir={stopped}", "resume=true")
    one, two = (load(folder / "last.safetensors")[0] for folder in (straight, stopped))
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)
