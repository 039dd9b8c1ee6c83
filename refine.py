"""Refine estimated poses: python refine.py objective=mota dataset.predictions=DIR."""

import time
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from hpr import cli
from hpr.files import write_json
from hpr.inference import PoseRefiner
from hpr.models.loading import load_network
from hpr.refining import Tally, refine_files


def refine(cfg: DictConfig) -> dict[str, Any]:
    """Refines the predictions that the configuration names, writes them and report.json, and returns the report."""
    output = Path(cfg.output_dir)
    network = load_network(Path(cfg.model.weights), cfg.model.architecture)
    refiner = PoseRefiner(network, cfg.device, cfg.precision, cfg.flip)
    start = time.perf_counter()
    tallies = refine_files(
        refiner,
        hydra.utils.instantiate(cfg.dataset.format),
        Path(cfg.dataset.predictions),
        Path(cfg.dataset.root),
        output / "predictions",
        cfg.objective.threshold,
    )
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    report = {
        **total.as_json(),
        "seconds": time.perf_counter() - start,
        "device": refiner.device_name,
        "settings": OmegaConf.to_container(cfg, resolve=True),
        "sequences": {name: tally.as_json() for name, tally in tallies.items()},
    }
    write_json(output / "report.json", report)
    return report


def main(cfg: DictConfig) -> None:
    """Refines and prints a summary."""
    report = refine(cfg)
    persons, joints = report["persons"], report["joints"]
    rate = persons["seen"] / report["seconds"]
    reasons = "".join(f", {count}: {reason}" for reason, count in persons["reasons"].items())
    print(f"\n{'persons':<8} {persons['refined']} of {persons['seen']} refined{reasons}")
    print(f"{'joints':<8} {joints['kept']} kept, {joints['dropped']} dropped, {joints['added']} added")
    print(f"{'time':<8} {report['seconds']:.1f} s on {report['device']}, {rate:.2f} persons per second")
    print(f"{'wrote':<8} {cfg.output_dir}/predictions and {cfg.output_dir}/report.json")


if __name__ == "__main__":
    cli.run(main, "refine")
