"""Every configuration in conf/ composes, and what it names can be built."""

import re
from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig

from hpr.cli import CONF
from hpr.models.architectures import ARCHITECTURES

COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "plain")
CHOICES = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]


def compose(command: str, *settings: str) -> DictConfig:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(command, list(settings))


def test_commands() -> None:
    assert COMMANDS == ["benchmark", "evaluate", "port", "refine"]


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults_compose(command: str) -> None:
    compose(command)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_choices_compose_and_build(group: str, choice: str) -> None:
    node = compose("refine", f"{group}={choice}", "dataset.predictions=DIR", "model.weights=FILE")[group]
    hydra.utils.instantiate({key: value for key, value in node.items() if isinstance(value, DictConfig)})
    if group == "model":
        assert node.architecture in ARCHITECTURES


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.stem)
def test_files_start_with_what_uses_them(path: Path) -> None:
    assert re.match(r"# (python |@package _global_\n# )", path.read_text())


def test_defaults_are_those_of_the_published_set_up() -> None:
    cfg = compose("refine")
    assert cfg.dataset.root == "data/posetrack_data_v2"
    assert cfg.model.weights == "model/snapshot-515000.safetensors"
    assert cfg.flip is True
    assert compose("refine", "objective=mota").objective.threshold == 0.7
    assert compose("refine", "objective=map").objective.threshold == 0.0
