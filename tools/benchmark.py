"""Measures speed and quality: tools/benchmark.py [what=NAME] [NAME=VALUE …]; bench/benchmark.yaml has all."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `tools`, which is not installed

from hpr.cli import app
from hpr.cli.components import Component, build
from hpr.cli.main import exit_with
from hpr.cli.progress import progress_bar, say
from hpr.cli.settings import ModelSettings
from hpr.crops import ScaleRule
from hpr.errors import UserError
from hpr.files import write_json
from hpr.metrics.scores import or_none
from hpr.models.checkpoints import load_network
from hpr.refine.engine import PoseRefiner
from hpr.refine.objective import Objective
from hpr.runtime.device import select_device
from hpr.runtime.memory import keep_freed_memory
from hpr.runtime.precision import PrecisionSetting, select_precision
from hpr.settings import BatchSize, CanvasSide, Count, Section, Seed, Workers
from hpr.skeleton import get_skeleton
from tools.bench.cpu import describe_cpu
from tools.bench.files import benchmark_files, files_table
from tools.bench.photo import benchmark_photo, photo_table
from tools.bench.profiling import profile_refining, profile_table
from tools.bench.quality import benchmark_quality, quality_table, usual_kinds
from tools.bench.refining import benchmark_refining, refining_table
from tools.bench.training import benchmark_training, training_table


class RefiningSettings(Section):
    """What=refining: crops by people per frame; what=profile: the first crop with the last number of people."""

    crops: list[list[int]]
    people: list[int]
    rounds: Count


class TrainingBenchmarkSettings(Section):
    """What=training: a training that only takes steps."""

    canvas: Annotated[list[CanvasSide], Field(min_length=2, max_length=2)]
    batch_size: BatchSize
    num_workers: Workers
    steps: Annotated[int, Field(ge=2)]


class QualitySettings(Section):
    """What=quality: drawn clips with several kinds of estimates."""

    clips: Count
    frames: Count
    seed: Seed
    scale: ScaleRule
    kinds: list[str] | None
    objectives: dict[str, Objective]


class FilesSettings(Section):
    """What=files: COCO's annotations and results."""

    people: Count
    images: Count


class PhotoSettings(Section):
    """What=photo: 1080p photographs, and a video of them."""

    flip: bool
    frames: Count
    people: Count
    rounds: Count


class BenchmarkSettings(Section):
    """tools/bench/benchmark.yaml."""

    what: Literal["refining", "profile", "photo", "training", "quality", "files"]
    model: ModelSettings
    device: str
    precision: PrecisionSetting
    output_dir: str
    refining: RefiningSettings
    training: TrainingBenchmarkSettings
    quality: QualitySettings
    files: FilesSettings
    photo: PhotoSettings
    pose_errors: Component
    augmentation: Component


def benchmark(settings: BenchmarkSettings) -> None:
    """Runs the benchmark that the settings name, prints its figures and writes them to a JSON file."""
    keep_freed_memory()
    measure = {
        "refining": measure_refining,
        "profile": measure_profile,
        "photo": measure_photo,
        "training": measure_training,
        "quality": measure_quality,
        "files": measure_files,
    }
    print(f"CPU: {describe_cpu()}")
    result = {"cpu": describe_cpu(), **measure[settings.what](settings)}
    write_json(Path(settings.output_dir) / f"{settings.what}.json", result, indent=4)


def measure_refining(settings: BenchmarkSettings) -> Any:
    """Compares the engine with the network alone and with the published way."""
    sizes, architecture = settings.refining, settings.model.architecture
    with progress_bar("measurements", len(sizes.crops) * len(sizes.people), doing="measuring") as progress:
        result = benchmark_refining(
            architecture, settings.device, settings.precision, sizes.crops, sizes.people, sizes.rounds, progress
        )
    print(f"{architecture} in {result['precision']} on {result['device']} ({result['threads']} CPU threads), flip on")
    peaks = ", ".join(f"{name} {value:.0f}" for name, value in result["peak_gflops"].items())
    print(f"measured peaks in GFLOP/s: {peaks}; peak memory {result['peak_memory_mb']:.0f} MB")
    print(f"\npeople per second\n{refining_table(result)}")
    return result


def measure_profile(settings: BenchmarkSettings) -> Any:
    """Finds what takes the time of refining."""
    sizes, architecture = settings.refining, settings.model.architecture
    if not sizes.crops or not sizes.people:
        raise UserError("what=profile: expected one crop or more and one number of people or more")
    crop, people = sizes.crops[0], sizes.people[-1]
    result = profile_refining(architecture, settings.device, settings.precision, crop, people, sizes.rounds)
    print(f"{architecture} in {settings.precision} on {settings.device}, flip on, crops of {crop[0]}x{crop[1]}")
    print(profile_table(result))
    return result


def measure_photo(settings: BenchmarkSettings) -> Any:
    """Measures the photograph refiner, its network alone and end to end."""
    sizes = settings.photo
    with TemporaryDirectory() as folder:
        result = benchmark_photo(settings.device, settings.precision, **sizes.model_dump(), folder=Path(folder))
    print(f"photograph refiner in {settings.precision} on {settings.device}, flip={str(sizes.flip).lower()}")
    print(photo_table(result))
    return result


def measure_training(settings: BenchmarkSettings) -> Any:
    """Measures the training step and its loader."""
    errors = build("pose_errors", settings.pose_errors)
    augmentation = build("augmentation", settings.augmentation)
    device, model, sizes = select_device(settings.device), settings.model, settings.training
    precision = select_precision(settings.precision, device)

    skeleton = get_skeleton(model.skeleton)
    result = benchmark_training(
        model.architecture, skeleton, device, precision, errors, augmentation, **sizes.model_dump()
    )
    print(f"{model.architecture} in {precision} on {device}, {sizes.batch_size} crops a step")
    print(training_table(result))
    return result


def measure_quality(settings: BenchmarkSettings) -> Any:
    """Scores refined estimates of drawn people, from poor to exact, under each objective."""
    model, sizes = settings.model, settings.quality
    kinds = usual_kinds(lambda **changes: build("pose_errors", {**settings.pose_errors, **changes}))
    names = [kind.name for kind in kinds]
    if unknown := set(sizes.kinds or ()) - set(names):
        raise UserError(f"quality.kinds: expected some of {', '.join(names)}; found {min(unknown)}")
    if model.weights is None:
        raise UserError("model.weights=null: expected a file of weights to refine with")
    network = load_network(Path(model.weights), model.architecture, get_skeleton(model.skeleton), model.input)

    def make_refiner(iterations: int) -> PoseRefiner:
        return PoseRefiner(network, settings.device, settings.precision, scale=sizes.scale, iterations=iterations)

    wanted = [kind for kind in kinds if sizes.kinds is None or kind.name in sizes.kinds]
    num_frames = len(wanted) * len(sizes.objectives) * sizes.clips * sizes.frames
    print(f"{sizes.clips} drawn clips of {sizes.frames} frames, seed {sizes.seed}, scale {sizes.scale}, in percent")
    results = {}
    with TemporaryDirectory() as folder, progress_bar("frames", num_frames, doing="refining") as progress:
        for name, scores in benchmark_quality(
            make_refiner, wanted, sizes.objectives, sizes.clips, sizes.frames, sizes.seed, Path(folder), progress
        ):
            say(f"\n{name}\n{quality_table(scores)}")
            results[name] = {row: {s: or_none(v) for s, v in values.items()} for row, values in scores.items()}
    return results


def measure_files(settings: BenchmarkSettings) -> Any:
    """Measures reading and writing large files."""
    sizes = settings.files
    with TemporaryDirectory() as folder:
        result = benchmark_files(sizes.people, sizes.images, Path(folder))
    print(f"COCO's files of {sizes.images} images; results are read beside the annotations\n{files_table(result)}")
    return result


COMMAND = app.Command("benchmark", BenchmarkSettings, benchmark, folder=Path(__file__).parent / "bench")

if __name__ == "__main__":
    exit_with(lambda: app.main(COMMAND, sys.argv[1:]))
