"""Odd values of settings: each is refused before any work, in one line that says what is allowed."""

from pathlib import Path

import pytest
from conftest import fail

from hpr.cli import app, refine, train
from hpr.errors import UserError

HUGE = 10**30
EXAMPLES = ["canvas=[64,64]", "training.steps=1", "training.batch_size=1", "training.workers=0", "device=cpu"]
BENCHMARK = ["what=training", "model=demo", "device=cpu"]
KINDS = "head, shoulder, elbow, wrist, hip, knee, ankle"


@pytest.mark.parametrize(
    ("command", "name", "value", "expected"),
    [
        ("train", "augmentation.scale", "[1.15,0.85]", "expected the smaller factor first"),
        ("train", "augmentation.scale", "[1,1e9]", "augmentation.scale.1=1000000000.0: expected 10 or less"),
        ("train", "augmentation.scale", "[0,1]", "augmentation.scale.0=0: expected 0.1 or more"),
        ("train", "augmentation.shift", "1e9", "expected 1000 or less"),
        ("train", "augmentation.shift", "nan", "expected 1000 or less"),
        ("train", "augmentation.colour", "5", "expected 1 or less"),
        ("train", "augmentation.colour", "inf", "expected 1 or less"),
        ("train", "augmentation._target_", "text", "augmentation: text cannot be made (Error loading 'text'"),
        ("train", "augmentation._target_", "5", "augmentation._target_=5: expected the name of a class"),
        ("train", "canvas", "[1000000000,64]", "canvas.0=1000000000: expected 8192 or less"),
        ("train", "dataset.validation.clips", "0", "dataset.validation.clips=0: expected 1 or more"),
        ("train", "dataset.validation.frames", "1e-30", "expected a whole number"),
        ("train", "optimizer.weight_decay", "-5", "optimizer.weight_decay=-5: expected a number from 0 to 1"),
        ("train", "optimizer.weight_decay", "inf", "expected a number from 0 to 1"),
        ("train", "optimizer.weight_decay", "text", "expected a number from 0 to 1"),
        ("train", "optimizer.lr", "-5", "optimizer: Invalid learning rate: -5"),
        ("train", "+optimizer.odd", "1", "optimizer: "),
        ("train", "optimizer._partial_", "false", "optimizer: torch.optim.AdamW cannot be made"),
        ("train", "optimizer._partial_", "inf", "optimizer._partial_=inf: expected true or false"),
        ("train", "pose_errors.crowded_swap", "1e9", "expected 100 or less"),
        ("train", "pose_errors.few_keypoints_miss", "nan", "expected 100 or less"),
        ("train", "pose_errors.miss.hip", "???", f"expected a probability for each of {KINDS}; found head, shoulder"),
        ("train", "+pose_errors.miss.tail", "0.1", f"expected a probability for each of {KINDS}; found head, shoulder"),
        ("train", "schedule.peak", "1e9", "schedule.peak=1000000000.0: expected 10 or less"),
        ("train", "schedule.peak", "0", "expected a number above 0"),
        ("train", "schedule.warm_up", "-5", "expected 0 or more"),
        ("train", "seed", HUGE, "expected a number below 9223372036854775808"),
        ("train", "training.accumulate", "0", "expected 1 or more"),
        ("train", "training.accumulate", "-1", "expected 1 or more"),
        ("train", "training.batch_size", "1000000000", "expected 65536 or less"),
        ("train", "training.checkpoint_every", "0", "expected 1 or more"),
        ("train", "training.ema", "2", "expected a number below 1"),
        ("train", "training.epochs", "1e9", "training.epochs=1000000000.0: expected 1e+06 or less"),
        ("train", "training.epochs", "nan", "training.epochs=nan: expected"),
        ("train", "training.log_every", "0", "expected 1 or more"),
        ("train", "training.max_gradient_norm", "inf", "expected a finite number"),
        ("train", "training.validate_every", "-1", "expected 1 or more"),
        ("train", "training.workers", "-1", "expected 0 or more"),
        ("train", "training.workers", "1000000000", "expected 512 or less"),
        ("train", "output_dir", "a" * 300, "File name too long"),
        ("benchmark", "augmentation.scale", "1.5", "augmentation.scale=1.5: expected a list"),
        ("benchmark", "pose_errors.shift", "2", "pose_errors.shift=2: expected 1 or less"),
        ("benchmark", "precisions", "{}", "precisions: the value is not of the kind that this setting has"),
        ("benchmark", "model", "[0,0]", "expected one name for a group of settings"),
        ("benchmark", "training.canvas", "[0,0]", "training.canvas.0=0: expected 16 or more"),
        ("benchmark", "training.workers", "1000000000", "expected 512 or less"),
        ("benchmark", "precision", "x" * 3000, "precision=xxxxx"),
        ("make_sample", "seed", HUGE, "expected a number below"),
        ("make_sample", "width", "1000000000", "expected 8192 or less"),
        ("make_sample", "output_dir", "null", "output_dir=null: expected a text"),
        ("show_errors", "seed", "-1", "expected 0 or more"),
        ("show_errors", "pose_errors", "1e9", "Config group override must be a string or a list"),
    ],
)
def test_refused(command: str, name: str, value: object, expected: str, tmp_path: Path) -> None:
    plain = {"train": EXAMPLES, "benchmark": BENCHMARK, "make_sample": ["output_dir=out"]}.get(command, [])
    message = fail(f"{command}.py", *plain, f"{name}={value}", cwd=tmp_path)
    assert expected in message
    assert len(message) < 400


def test_steps_of_a_schedule(tmp_path: Path) -> None:
    for until in ("[1,2]", "[1,2,3,3]", "[4,3,2,1]"):
        message = fail("train.py", *EXAMPLES, "schedule=steps", f"schedule.until={until}", cwd=tmp_path)
        assert "expected 4 rising steps, one for each of the rates" in message


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (refine, ["dataset.validation.clips=1"], "with dataset=sample; it belongs to dataset=synthetic"),
        (refine, ["dataset.annotatoins=a"], "'dataset.annotatoins'; did you mean dataset.annotations?"),
        (refine, ["dataset=posetrack18", "dataset.anotations=a"], "did you mean dataset.annotations?"),
        (refine, ["dataset.anything.at.all=a"], "there is no setting 'dataset.anything.at.all'"),
        (refine, ["datset=sample"], "'datset'; did you mean dataset?"),
        (refine, ["zzz=1"], "there is no setting 'zzz'; --cfg job lists all settings"),
        (train, ["optimizer.momentum=0.5"], "with optimizer=adamw; it belongs to optimizer=sgd"),
        (train, ["optimizer=sgd", "optimizer.weight_decay=0"], "with optimizer=sgd; it belongs to optimizer=adamw"),
        (train, ["schedule.ratse=[1]"], "with schedule=cosine; did you mean schedule.rates of schedule=steps?"),
        (train, ["dataset=posetrack18", "dataset.training.anotations=a"], "did you mean dataset.training.annotations?"),
        (train, ["dataset=posetrack18", "dataset.validation.clips=1"], "it belongs to dataset=synthetic"),
    ],
)
def test_settings_of_another_choice(command: object, words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        app.compose(command.COMMAND, *words)  # type: ignore[attr-defined]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("training.annotations", "5", "dataset.training.annotations=5: expected a text"),
        ("training.images", "1.5", "expected a group of settings that makes a ImageSource"),
        ("training.images.location", "5", "dataset.training.images.location=5: expected a text"),
        ("training.images._target_", "true", "dataset.training.images._target_=true: expected the name of a class"),
        ("images", "5", "dataset.images=5: expected a text"),
    ],
)
def test_within_a_data_set(name: str, value: str, expected: str, tmp_path: Path) -> None:
    words = [*EXAMPLES, "dataset=posetrack18", f"dataset.{name}={value}", f"output_dir={tmp_path / 'out'}"]
    assert expected in fail("train.py", *words)


@pytest.mark.parametrize("value", ["5", "[1]"])
def test_what_a_format_is_built_from(value: str) -> None:
    words = ["dataset.predictions=a", "dataset.annotations=b", f"dataset.format.location={value}"]
    assert f"dataset.format.location={value}: expected a text" in fail("evaluate.py", *words)
