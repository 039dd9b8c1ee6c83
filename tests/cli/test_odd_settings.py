"""Odd settings: each is refused before any work, in one line that says what is allowed."""

from pathlib import Path
from typing import Any

import pytest
from conftest import fail

from hpr.cli import app, evaluate, make_sample, refine, train
from hpr.errors import UserError

PLAIN: dict[str, list[str]] = {
    "train": ["canvas=[64,64]", "training.steps=1", "training.batch_size=1", "training.num_workers=0", "device=cpu"],
    "make-sample": ["output_dir=out"],
    "evaluate": ["dataset.predictions=a", "dataset.annotations=b"],
}
KINDS = "head, shoulder, elbow, wrist, hip, knee, ankle"


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("train", "augmentation.scale=[1.15,0.85]", "expected the smaller factor first"),
        ("train", "augmentation.scale=[1,1e9]", "augmentation.scale.1=1000000000.0: expected less than or equal"),
        ("train", "augmentation.scale=1.5", "augmentation.scale=1.5: expected a list"),
        ("train", "augmentation.shift=nan", "augmentation.shift=nan: expected"),
        ("train", "augmentation._target_=text", "augmentation: text cannot be built (No module named 'text')"),
        ("train", "augmentation._target_=5", "augmentation._target_=5: expected the name of a class"),
        ("train", "canvas=[1000000000,64]", "canvas.0=1000000000: expected less than or equal to 8192"),
        ("train", "canvas={}", "canvas: the value is not of the type that this setting has"),
        ("train", "dataset.validation.frames=1e-30", "expected a valid integer"),
        ("train", "optimizer.weight_decay=-5", "optimizer: Invalid weight_decay value: -5"),
        ("train", "+optimizer.odd=1", "optimizer: "),
        ("train", "optimizer._partial_=false", "optimizer: torch.optim.AdamW cannot be built"),
        ("train", "optimizer._partial_=inf", "optimizer._partial_=inf: expected true or false"),
        ("train", "model=[0,0]", "expected one name for a group of settings"),
        ("train", "pose_errors.miss.hip=???", f"expected a probability for each of {KINDS}; found head, shoulder"),
        ("train", "seed=1000000000000000000000000000000", "expected less than 9223372036854775808"),
        ("train", "training.ema=2", "expected less than 1"),
        ("train", "training.epochs=nan", "training.epochs=nan: expected"),
        ("train", "training.max_gradient_norm=inf", "expected a finite number"),
        ("train", "output_dir=" + "a" * 300, "File name too long"),
        ("train", "dataset=posetrack18 dataset.training.images=1.5", "images=1.5: expected an instance of ImageSource"),
        ("train", "dataset=posetrack18 dataset.training.images._target_=true", "true: expected the name of a class"),
        ("train", "schedule=steps schedule.until=[1,2]", "expected 4 rising steps, one for each of the rates"),
        ("train", "schedule=steps schedule.until=[4,3,2,1]", "expected 4 rising steps, one for each of the rates"),
        ("make-sample", "width=" + "x" * 3000, "width=xxxxx"),
        ("make-sample", "output_dir=null", "output_dir=null: expected a valid string"),
        ("make-sample", "pose_errors=1e9", "Config group override must be a string or a list"),
        ("evaluate", "dataset.format.location=5", "dataset.format.location=5: expected a valid string"),
    ],
)
def test_refused(command: str, words: str, expected: str, tmp_path: Path) -> None:
    message = fail(command, *PLAIN[command], *words.split(), cwd=tmp_path)
    assert expected in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        (refine, ["dataset.annotatoins=a"], "there is no setting 'dataset.annotatoins'; did you mean dataset.annotat"),
        (refine, ["datset=sample"], "'datset'; did you mean dataset?"),
        (refine, ["zzz=1"], "there is no setting 'zzz'; --help lists the settings"),
        (evaluate, ["dataset=odd"], "dataset=odd: there is no such dataset; expected one of alphapose, auto, coco"),
        (make_sample, ["clips"], "'clips': expected NAME=VALUE"),
        (train, ["dataset=posetrack18", "dataset.training.anotations=a"], "did you mean dataset.training.annotations?"),
    ],
)
def test_unknown_settings(module: Any, words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        app.compose(module.COMMAND, *words)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["refin"], "there is no command 'refin'; did you mean refine?"),
        (["zzz"], "there is no command 'zzz'; expected one of refine, train, evaluate"),
        (["port", "--config-dir", "/no/where"], "--config-dir /no/where: no such folder"),
        (["port", "--config-dir"], "argument --config-dir: expected one argument"),
        (["port", "--verbose"], "'--verbose': expected NAME=VALUE; --help lists the settings"),
    ],
)
def test_words_that_are_no_settings(words: list[str], message: str) -> None:
    assert message in fail(words[0], *words[1:])
