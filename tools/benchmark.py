"""Measure speed: python tools/benchmark.py [what=refining|precision|training|evaluation] [model=resnet101]."""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from hpr import cli
from hpr.benchmarks.evaluation import benchmark_evaluation
from hpr.benchmarks.precision import benchmark_precisions, precision_table
from hpr.benchmarks.refining import benchmark_refining, refining_table, save_chart
from hpr.benchmarks.training import benchmark_training
from hpr.errors import UserError
from hpr.files import write_json
from hpr.formats import PoseTrack18
from hpr.inference import select_device
from hpr.memory import keep_freed_memory


def refining(cfg: DictConfig) -> None:
    """Compares the engine with the plain mode; writes a table and a plot."""
    settings = OmegaConf.to_container(cfg.refining)
    assert isinstance(settings, dict)
    named = {str(name): value for name, value in settings.items()}
    result = benchmark_refining(cfg.model.architecture, cfg.device, cfg.precision, **named)
    print(
        f"{result['model']} in {result['precision']} on {result['device']} ({result['threads']} CPU threads), flip on"
    )
    peaks = ", ".join(f"{name} {value:.0f}" for name, value in result["peak_gflops"].items())
    print(f"measured peaks in GFLOP/s: {peaks}; peak memory {result['peak_memory_mb']:.0f} MB")
    print(f"\npeople per second\n{refining_table(result)}")
    folder = Path(cfg.output_dir)
    write_json(folder / "refining.json", result)
    save_chart(result, folder / "refining.png")
    print(f"\nwrote {folder}: refining.json, refining.png")


def precision(cfg: DictConfig) -> None:
    """Compares the precisions on the bundled sample."""
    tree = cli.ASSETS / "sample"
    folders = {"root": tree, "predictions": tree / "predictions", "truth": tree / "annotations"}
    weights, precisions = cli.ASSETS / "demo.safetensors", list(cfg.precisions)
    results = benchmark_precisions(weights, cfg.device, precisions, PoseTrack18(), **folders)
    print(f"the bundled sample refined on {results[0]['device']}, each precision against fp32")
    print(precision_table(results))
    write_json(Path(cfg.output_dir) / "precision.json", results)


def training(cfg: DictConfig) -> None:
    """Measures the training step and its loader."""
    errors, augmentation = (hydra.utils.instantiate(cfg[name]) for name in ("pose_errors", "augmentation"))
    device = str(select_device(cfg.device))
    result = benchmark_training(cfg.model.architecture, device, cfg.precision, errors, augmentation, **cfg.training)
    print(f"{cfg.model.architecture} in {cfg.precision} on {device}, {cfg.training.batch_size} crops a step")
    print(f"{'step':<20}{1000 * result['seconds_per_step']:8.1f} ms")
    print(f"{'step with loader':<20}{1000 * result['seconds_per_step_with_loader']:8.1f} ms")
    print(f"{'drawing an example':<20}{1000 * result['seconds_per_example_drawn']:8.1f} ms of one core")
    print(f"{'of the peak':<20}{100 * result['share_of_convolution_peak']:8.1f} % (3×3 convolutions)")
    write_json(Path(cfg.output_dir) / "training.json", result)


def evaluation(cfg: DictConfig) -> None:
    """Measures scoring."""
    result = benchmark_evaluation(**cfg.evaluation)
    size = f"{result['sequences']} sequences of {result['frames']} frames with {result['people']} people"
    print(f"{size}, {result['megabytes']:.0f} MB of JSON: {result['seconds']:.2f} s")


_BENCHMARKS = {"refining": refining, "precision": precision, "training": training, "evaluation": evaluation}


def main(cfg: DictConfig) -> None:
    """Runs the benchmark that the configuration names and prints its figures."""
    if cfg.what not in _BENCHMARKS:
        raise UserError(f"what={cfg.what}: expected one of {', '.join(_BENCHMARKS)}")
    keep_freed_memory()
    _BENCHMARKS[cfg.what](cfg)


if __name__ == "__main__":
    cli.run(main, "benchmark")
