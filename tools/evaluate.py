"""Score predictions: python tools/evaluate.py dataset.annotations=DIR dataset.predictions=DIR."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from hpr import cli
from hpr.errors import UserError
from hpr.evaluation.posetrack import Evaluation, evaluate_files, table
from hpr.files import write_json


def evaluate(cfg: DictConfig) -> Evaluation:
    """Scores the predictions that the configuration names, writes the scores if it says where, and returns them."""
    if cfg.dataset.annotations is None:
        raise UserError("dataset.annotations is not set; add dataset.annotations=DIR to the command")
    file_format = hydra.utils.instantiate(cfg.dataset.format)
    evaluation = evaluate_files(file_format, Path(cfg.dataset.annotations), Path(cfg.dataset.predictions))
    if cfg.output is not None:
        write_json(Path(cfg.output), evaluation.as_json())
    return evaluation


def main(cfg: DictConfig) -> None:
    """Scores and prints the table."""
    evaluation = evaluate(cfg)
    for warning in evaluation.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(table(evaluation))
    if cfg.output is not None:
        print(f"\nwrote {cfg.output}")


if __name__ == "__main__":
    cli.run(main, "evaluate")
