"""Measure speed: python tools/benchmark.py what=evaluation."""

from omegaconf import DictConfig

from hpr import cli
from hpr.benchmarks.evaluation import benchmark_evaluation
from hpr.errors import UserError


def main(cfg: DictConfig) -> None:
    """Runs the benchmark that the configuration names and prints its figures."""
    if cfg.what != "evaluation":
        raise UserError(f"what={cfg.what}: expected evaluation")
    result = benchmark_evaluation(**cfg.evaluation)
    size = f"{result['sequences']} sequences of {result['frames']} frames with {result['people']} people"
    print(f"{size}, {result['megabytes']:.0f} MB of JSON: {result['seconds']:.2f} s")


if __name__ == "__main__":
    cli.run(main, "benchmark")
