"""Measure speed and quality: hpr-benchmark, python tools/benchmark.py [what=refining|precision|quality|…]."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from pydantic import Field

from tools.bench.evaluation import benchmark_evaluation
from tools.bench.feeding import benchmark_feeding, feeding_table
from tools.bench.precision import benchmark_precisions, precision_table
from tools.bench.quality import Kind, benchmark_quality, quality_table, usual_kinds
from tools.bench.refining import benchmark_refining, refining_table, save_chart
from tools.bench.training import benchmark_training, training_table
from hpr.settings import BatchSize, CanvasSide, Count, Seed, Workers
from hpr.cli import app
from hpr.cli.progress import progress_bar, say
from hpr.cli.settings import Component, ModelSettings, Section
from hpr.crops import ScaleRule
from hpr.errors import UserError
from hpr.metrics.posetrack import or_none
from hpr.files import write_json
from hpr.formats import PoseTrack18
from hpr.images import ImageFolder
from hpr.refine.engine import PoseRefiner
from hpr.models.loading import load_network
from hpr.models.registry import build_network
from hpr.refine.objective import Objective
from hpr.runtime.device import select_device
from hpr.runtime.memory import keep_freed_memory
from hpr.runtime.precision import PrecisionSetting, select_precision
from hpr.skeleton import get_skeleton


class _Refining(Section):
    crops: list[list[int]]
    people: list[int]
    rounds: Count


class _Training(Section):
    canvas: Annotated[list[CanvasSide], Field(min_length=2, max_length=2)]
    batch_size: BatchSize
    workers: Workers
    steps: Annotated[int, Field(ge=2)]


class _Feeding(Section):
    canvas: Annotated[list[CanvasSide], Field(min_length=2, max_length=2)]
    scale: ScaleRule
    frames: Count
    examples: Count


class _Evaluation(Section):
    sequences: Count
    frames: Count
    people: Count


class _Quality(Section):
    clips: Count
    frames: Count
    seed: Seed
    scale: ScaleRule
    kinds: list[str] | None
    objectives: dict[str, Objective]


class BenchmarkSettings(Section):
    """conf/benchmark.yaml."""

    what: Literal["refining", "precision", "quality", "training", "feeding", "evaluation"]
    model: ModelSettings
    device: str
    precision: PrecisionSetting
    precisions: list[PrecisionSetting]
    output_dir: str
    refining: _Refining
    training: _Training
    feeding: _Feeding
    evaluation: _Evaluation
    quality: _Quality
    pose_errors: Component
    augmentation: Component


def benchmark(settings: BenchmarkSettings) -> Any:
    """Runs the benchmark that the settings name, prints its figures and returns them."""
    keep_freed_memory()
    app.build("pose_errors", settings.pose_errors)  # also where they play no part, odd ones are refused
    app.build("augmentation", settings.augmentation)
    measure = {
        "refining": _refining,
        "precision": _precision,
        "quality": _quality,
        "training": _training,
        "feeding": _feeding,
        "evaluation": _evaluation,
    }
    return measure[settings.what](settings)


def _refining(settings: BenchmarkSettings) -> Any:
    """Compares the engine with the plain mode; writes a table and a plot."""
    sizes = settings.refining
    architecture = settings.model.architecture
    with progress_bar("measurements", len(sizes.crops) * len(sizes.people), doing="measuring") as progress:
        result = benchmark_refining(
            architecture, settings.device, settings.precision, sizes.crops, sizes.people, sizes.rounds, progress
        )
    print(f"{architecture} in {result['precision']} on {result['device']} ({result['threads']} CPU threads), flip on")
    peaks = ", ".join(f"{name} {value:.0f}" for name, value in result["peak_gflops"].items())
    print(f"measured peaks in GFLOP/s: {peaks}; peak memory {result['peak_memory_mb']:.0f} MB")
    print(f"\npeople per second\n{refining_table(result)}")
    folder = Path(settings.output_dir)
    write_json(folder / "refining.json", result, indent=4)
    save_chart(result, folder / "refining.png")
    print(f"\nwrote {folder}: refining.json, refining.png")
    return result


def _precision(settings: BenchmarkSettings) -> Any:
    """Compares the precisions on the bundled sample."""
    tree = app.ASSETS / "sample"
    folders = (tree / "predictions", tree / "annotations")
    weights, images = app.ASSETS / "demo.safetensors", ImageFolder(tree)
    with progress_bar("precisions", len({"fp32", *settings.precisions}), doing="measuring") as progress:
        results = benchmark_precisions(
            weights, settings.device, settings.precisions, PoseTrack18(), images, *folders, progress
        )
    print(f"the bundled sample refined on {results[0]['device']}, each precision against fp32")
    print(precision_table(results))
    write_json(Path(settings.output_dir) / "precision.json", results, indent=4)
    return results


def _quality(settings: BenchmarkSettings) -> Any:
    """Refines estimates of drawn people from poor to exact, under each objective."""
    wanted, sizes = _wanted_kinds(settings), settings.quality
    weights = settings.model.weights
    if weights is None:
        raise UserError("model.weights=null: expected a file of weights to refine with")
    model = settings.model
    network = load_network(Path(weights), model.architecture, get_skeleton(model.skeleton), model.input)
    objectives = {
        name: (Objective(keep=own.keep, add=own.add, score=own.score), own.iterations) for name, own in sizes.objectives.items()
    }

    def refiner(iterations: int) -> PoseRefiner:
        return PoseRefiner(network, settings.device, settings.precision, scale=sizes.scale, iterations=iterations)

    print(f"{sizes.clips} drawn clips of {sizes.frames} frames, seed {sizes.seed}, scale {sizes.scale}, in percent")
    results = {}
    passes = len(wanted) * len({objective.iterations for objective in sizes.objectives.values()})
    frames = passes * sizes.clips * sizes.frames
    with TemporaryDirectory() as folder, progress_bar("frames", frames, doing="refining") as progress:
        count = {"clips": sizes.clips, "frames": sizes.frames, "seed": sizes.seed}
        for name, scores in benchmark_quality(
            refiner, wanted, objectives, **count, folder=Path(folder), progress=progress
        ):
            say(f"\n{name}\n{quality_table(scores)}")
            results[name] = scores
    write_json(Path(settings.output_dir) / "quality.json", _with_null(results), indent=4)
    return results


def _wanted_kinds(settings: BenchmarkSettings) -> list[Kind]:
    """Returns the kinds of estimates that the settings name, by default all.

    Raises:
        UserError: There is no such kind.
    """
    kinds = usual_kinds(lambda **changes: app.build("pose_errors", {**settings.pose_errors, **changes}))
    names = [kind.name for kind in kinds]
    wanted = names if settings.quality.kinds is None else settings.quality.kinds
    if unknown := set(wanted) - set(names):
        raise UserError(f"quality.kinds: expected some of {', '.join(names)}; found {min(unknown)}")
    return [kind for kind in kinds if kind.name in wanted]


def _with_null(results: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Returns the scores with null in place of NaN, which JSON does not have."""
    return {
        kind: {name: {score: or_none(value) for score, value in values.items()} for name, values in scores.items()}
        for kind, scores in results.items()
    }


def _training(settings: BenchmarkSettings) -> Any:
    """Measures the training step and its loader."""
    errors = app.build("pose_errors", settings.pose_errors)
    augmentation = app.build("augmentation", settings.augmentation)
    device, architecture = select_device(settings.device), settings.model.architecture
    precision, sizes = select_precision(settings.precision, device), settings.training
    skeleton = get_skeleton(settings.model.skeleton)
    result = benchmark_training(architecture, skeleton, device, precision, errors, augmentation, **sizes.model_dump())
    print(f"{architecture} in {precision} on {device}, {sizes.batch_size} crops a step")
    print(training_table(result))
    write_json(Path(settings.output_dir) / "training.json", result, indent=4)
    return result


def _feeding(settings: BenchmarkSettings) -> Any:
    """Measures how fast examples are made of photographs."""
    errors = app.build("pose_errors", settings.pose_errors)
    augmentation = app.build("augmentation", settings.augmentation)
    network = build_network(settings.model.architecture, get_skeleton(settings.model.skeleton))
    sizes = settings.feeding.model_dump()
    with TemporaryDirectory() as folder:
        result = benchmark_feeding(Path(folder), network, errors, augmentation, **sizes)
    height, width = settings.feeding.canvas
    files = f"JPEG files of 1920 × 1080 pixels and {result['megabytes_per_file']:.1f} MB with four people each"
    print(f"examples of {height} × {width} from {files}")
    print(feeding_table(result))
    write_json(Path(settings.output_dir) / "feeding.json", result, indent=4)
    return result


def _evaluation(settings: BenchmarkSettings) -> Any:
    """Measures scoring."""
    result = benchmark_evaluation(**settings.evaluation.model_dump())
    size = f"{result['sequences']} sequences of {result['frames']} frames with {result['people']} people"
    print(f"{size}, {result['megabytes']:.0f} MB of JSON: {result['seconds']:.2f} s")
    return result


COMMAND = app.Command("benchmark", BenchmarkSettings, benchmark)
