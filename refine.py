"""Refine estimated poses: python refine.py objective=mota dataset.predictions=DIR."""

import time
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf

from hpr import cli
from hpr.drawing import save_comparison
from hpr.errors import UserError
from hpr.evaluation.comparison import comparison_table, save_chart, totals
from hpr.evaluation.posetrack import Evaluation, evaluate_files
from hpr.files import write_json
from hpr.formats import Format
from hpr.inference import PoseRefiner, select_device
from hpr.memory import keep_freed_memory
from hpr.models.loading import load_network
from hpr.processes import Processes
from hpr.refining import Tally, refine_files

_OWN_PREDICTIONS = """
This was the bundled sample: drawn people, and weights that have seen no others. To refine your own predictions,
port the published weights (python tools/port_tf_weights.py) or train (python train.py), and run
  python refine.py dataset=posetrack18 dataset.root=FOLDER dataset.predictions=FOLDER [model.weights=FILE]"""


def refine(cfg: DictConfig) -> dict[str, Any] | None:
    """Refines the predictions that the configuration names and writes them and report.json.

    Returns:
        The report, in the first process; None in others that torchrun may have started.
    """
    _check_sample(cfg.dataset)
    processes = Processes.from_environment()
    network = load_network(Path(cfg.model.weights), cfg.model.architecture)
    device = processes.own_device(select_device(cfg.device))
    refiner = PoseRefiner(network, str(device), cfg.precision, cfg.flip)
    processes.join(torch.device("cpu"))  # only words are exchanged
    try:
        return _refine(cfg, refiner, processes)
    finally:
        processes.leave()


def _refine(cfg: DictConfig, refiner: PoseRefiner, processes: Processes) -> dict[str, Any] | None:
    predictions, output = Path(cfg.dataset.predictions), Path(cfg.output_dir)
    file_format = hydra.utils.instantiate(cfg.dataset.format)
    # Scoring the input first finds what is wrong with the annotations before the long work.
    before = _score(cfg, file_format, predictions) if processes.is_first else None
    start = time.perf_counter()
    root, threshold = Path(cfg.dataset.root), cfg.objective.threshold
    tallies: dict[str, Tally] = {}
    failure: str | None = None
    try:
        tallies.update(
            refine_files(refiner, file_format, predictions, root, output / "predictions", threshold, processes)
        )
    except Exception as error:
        if processes.count == 1:
            raise
        failure = f"process {processes.rank}: {error}"
    parts = processes.gathered((tallies, failure, refiner.device_name))
    if not processes.is_first:
        return None
    seconds = time.perf_counter() - start
    tallies = dict(sorted(item for part, _, _ in parts for item in part.items()))
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    report = {
        **total.as_json(),
        "failures": [failure for _, failure, _ in parts if failure],
        "seconds": seconds,
        "device": " and ".join(sorted({device for _, _, device in parts})),
        "precision": refiner.precision,
        "processes": processes.count,
        "settings": OmegaConf.to_container(cfg, resolve=True),
        "sequences": {name: tally.as_json() for name, tally in tallies.items()},
        "pictures": [],
    }
    if not report["failures"]:
        _compare(cfg, file_format, before, report)
    write_json(output / "report.json", report)
    return report


def _compare(cfg: DictConfig, file_format: Format, before: Evaluation | None, report: dict[str, Any]) -> None:
    """Adds to a report what can be seen of a whole run: a few frames, and the scores before and after."""
    predictions, output = Path(cfg.dataset.predictions), Path(cfg.output_dir)
    root, refined = Path(cfg.dataset.root), output / "predictions"
    if save_comparison(file_format, predictions, refined, root, output / "frames.jpg"):
        report["pictures"].append("frames.jpg")
    after = _score(cfg, file_format, refined)
    if before and after:
        report["metrics"] = {"before": totals(before), "after": totals(after), "warnings": after.warnings}
        save_chart(before, after, output / "metrics.png")
        report["pictures"].append("metrics.png")
        print(f"\n{comparison_table(before, after)}")
        for warning in after.warnings:
            print(f"warning: {warning}")


def _check_sample(dataset: DictConfig) -> None:
    """Refuses somebody's own files under the default data set: its weights are not meant for them."""
    for name in ("root", "predictions", "annotations"):
        path = dataset[name]
        if dataset.name == "sample" and path is not None and not Path(path).is_relative_to(cli.ASSETS):
            raise UserError(
                f"dataset.{name}={path}: dataset=sample is the bundled clips; "
                "for files of your own add dataset=posetrack18 or dataset=posetrack17"
            )


def _score(cfg: DictConfig, file_format: Format, predictions: Path) -> Evaluation | None:
    """Scores predictions if there are annotations."""
    annotations = cfg.dataset.annotations
    return None if annotations is None else evaluate_files(file_format, Path(annotations), predictions)


def main(cfg: DictConfig) -> None:
    """Refines and prints a summary."""
    keep_freed_memory()
    report = refine(cfg)
    if report is None:
        return
    persons, joints = report["persons"], report["joints"]
    rate = f"{persons['seen'] / report['seconds']:.2f} persons per second"
    reasons = "".join(f", {count}: {reason}" for reason, count in persons["reasons"].items())
    print(f"\n{'persons':<8} {persons['refined']} of {persons['seen']} refined{reasons}")
    print(f"{'joints':<8} {joints['kept']} kept, {joints['dropped']} dropped, {joints['added']} added")
    print(f"{'time':<8} {report['seconds']:.1f} s on {report['device']} in {report['precision']}, {rate}")
    written = ", ".join(["predictions", "report.json", *report["pictures"]])
    print(f"{'wrote':<8} {cfg.output_dir}: {written}")
    if report["failures"]:
        raise UserError(f"not all sequences were refined: {'; '.join(report['failures'])}")
    if cfg.dataset.name == "sample":
        print(_OWN_PREDICTIONS)


if __name__ == "__main__":
    cli.run(main, "refine")
