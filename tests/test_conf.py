"""Every configuration in conf/ composes, and what it names can be built."""

import pkgutil
from importlib import import_module
from pathlib import Path

import pytest
import torch
from conftest import ROOT, compose
from omegaconf import DictConfig, OmegaConf

from hpr.cli import app, train
from hpr.cli.components import build
from hpr.cli.main import COMMANDS
from hpr.cli.refine import PUBLISHED
from hpr.errors import UserError
from hpr.models.registry import ARCHITECTURES, PHOTO, TIMM
from hpr.refine.objective import MAP, MOTA, Objective
from hpr.skeleton import SKELETONS

CONF = ROOT / "conf"
MODULES = [name.replace("-", "_") for name in COMMANDS]
CHOICES = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]
ONLY_FILES = [path.stem for path in (CONF / "dataset").glob("*.yaml") if "/pose_files" in path.read_text()]
"""Data sets of predictions, which cannot be trained on."""

NEEDED = {
    "convert": ["input=FILE", "output=FILE", "format=NAME"],
    "evaluate": ["dataset.predictions=DIR"],
    "learn_errors": ["dataset.predictions=DIR"],
    "make_sample": ["output_dir=DIR"],
    "visualize": ["poses=FILE", "images=DIR"],
}
"""Settings without a default."""


def test_every_command_has_its_configuration() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == {*MODULES, "pose_files"}


@pytest.mark.parametrize("name", MODULES)
def test_defaults_are_what_the_command_takes(name: str) -> None:
    command, needed = import_module(f"hpr.cli.{name}").COMMAND, NEEDED.get(name, [])
    assert command.config == name
    app.compose(command, *needed)
    for setting in needed:
        with pytest.raises(UserError, match=f"{setting.partition('=')[0]} is not set; add .*=VALUE to the command"):
            app.compose(command, *(other for other in needed if other != setting))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_choices_compose_and_build(group: str, choice: str) -> None:
    commands = ["refine" if group in ("dataset", "model", "objective") and choice != "synthetic" else "train"]
    if group == "dataset" and choice != "sample":
        commands.append("train")
    files = ["dataset.predictions=FILE", "dataset.images=DIR"] if choice in ONLY_FILES else []
    for command in commands:
        chosen = f"{'+' if group == 'experiment' else ''}{group}={choice}"
        cfg = compose(command, chosen, "model.weights=FILE", *files)
        if group == "experiment":  # changes settings of other groups
            settings = app.compose(train.COMMAND, chosen, "model.weights=FILE")
            for name in ("optimizer", "schedule", "augmentation", "pose_errors", "validation_errors"):
                build(name, getattr(settings, name))
            assert (settings.training.steps is None) != (settings.training.epochs is None)
            continue
        node = cfg[group]
        if "_target_" in node:
            content = OmegaConf.to_container(node)
            assert isinstance(content, dict)
            build(group, {str(name): value for name, value in content.items()})
        elif group == "dataset":
            if choice != "auto":  # which looks into the file
                build("format", dict(node.format))
            parts = [node[key] for key in node if not OmegaConf.is_missing(node, key)]
            targets = [part["_target_"] for part in parts if isinstance(part, DictConfig) and "_target_" in part]
            assert all(callable(pkgutil.resolve_name(target)) for target in targets)
        elif group == "model":
            assert node.architecture in (*ARCHITECTURES, PHOTO, "auto") or node.architecture.startswith(TIMM)
            assert node.skeleton in (*SKELETONS, "auto")


def test_bare_command_brings_its_own_model() -> None:
    cfg = compose("refine")
    assert (cfg.dataset.name, cfg.model.architecture) == ("sample", "demo")
    assert compose("refine", "model=resnet50").model.architecture == "resnet50"


def test_recipes_for_one_and_for_eight_gpus_see_the_same_examples() -> None:
    """An average over as many, and a rate by the square root of the batch's size."""
    one, eight = (compose("train", f"+experiment=modern_{name}") for name in ("1gpu", "8gpu"))
    sizes = [recipe.training.batch_size for recipe in (one, eight)]
    assert one.training.epochs == eight.training.epochs
    assert sizes[0] / (1 - one.training.ema) == pytest.approx(sizes[1] / (1 - eight.training.ema))
    assert eight.schedule.peak_lr / one.schedule.peak_lr == pytest.approx((sizes[1] / sizes[0]) ** 0.5)
    assert one.augmentation == eight.augmentation


def test_the_published_recipe_is_the_parents() -> None:
    """docs/published.md, section 5."""
    settings = app.compose(train.COMMAND, "+experiment=published")
    training = settings.training
    assert (training.steps, training.batch_size, training.batch_norm) == (1_030_000, 1, "frozen")
    optimizer = build("optimizer", settings.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.SGD)
    assert (optimizer.defaults["momentum"], optimizer.defaults["weight_decay"]) == (0.9, 0)
    schedule = build("schedule", settings.schedule)
    assert [schedule(step, 0) for step in (0, 10_000, 430_000, 1_029_999)] == [0.005, 0.02, 0.002, 0.001]
    assert settings.augmentation["scale"] == [0.85, 1.15]


def test_posetrack_is_set_up_as_published() -> None:
    cfg = compose("refine", "dataset=posetrack18", "model=resnet101")
    assert cfg.model.architecture == "resnet101"
    assert cfg.dataset.root == "data/posetrack_data_v2"
    assert Path(cfg.model.weights) == PUBLISHED
    assert cfg.flip is True
    for name, published in (("mota", MOTA), ("map", MAP)):
        cfg = compose("refine", f"objective={name}")
        assert Objective(**cfg.objective) == published
        assert cfg.iterations == 1


@pytest.mark.parametrize("name", [choice for group, choice in CHOICES if group == "dataset" and choice != "synthetic"])
def test_objective_of_a_data_set(name: str) -> None:
    """Of one with scores it is the third, unless the command says otherwise; wherever it says so."""
    without = ("sample", "posetrack17", "posetrack18", "posetrack21", "mpii", "ultralytics_labels")
    cfg = compose("refine", f"dataset={name}", "dataset.predictions=FILE")
    assert cfg.objective.name == ("mota" if name in without else "rescore")
    assert cfg.output_dir == f"output/refined_{cfg.objective.name}"
    words = ["objective=map", f"dataset={name}", "dataset.predictions=FILE"]
    for order in (words, words[::-1]):
        assert compose("refine", *order).objective.name == "map"


def test_iterations() -> None:
    """Those of the objective, unless the command says otherwise."""
    given = ["objective.iterations=2", "iterations=3"]
    assert [compose("refine", *given[:count]).iterations for count in range(3)] == [1, 2, 3]
