"""`hpr refine`: refine estimated poses."""

import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import hpr
from hpr.cli import app
from hpr.cli.components import build
from hpr.cli.main import short_name
from hpr.cli.progress import progress_bar, say, warn
from hpr.cli.settings import Margin, ModelSettings, PredictionSettings, Score
from hpr.crops import ScaleRule
from hpr.errors import UserError, counted
from hpr.formats import Format
from hpr.images import ImageSource, open_images
from hpr.metrics.scores import Scores
from hpr.metrics.truth import Truth
from hpr.models.checkpoints import load_network
from hpr.models.places import ASSETS, find_weights
from hpr.refine.engine import PoseRefiner
from hpr.refine.files import FileAssembly, PoseFile, check_images, read_files
from hpr.refine.objective import Iterations, Objective
from hpr.refine.plausible import check_skeletons
from hpr.refine.resume import Journal, content_hash
from hpr.refine.sharing import Part, RefinedPart, share
from hpr.refine.stream import refine_parts
from hpr.refine.tally import Tally
from hpr.report.tables import format_row
from hpr.runtime.device import select_device
from hpr.runtime.folders import lock_folder
from hpr.runtime.precision import PrecisionSetting, bf16_advice, slow_precision
from hpr.runtime.processes import Processes
from hpr.runtime.signals import stop_signals
from hpr.settings import Section
from hpr.skeleton import get_skeleton

_LARGE_FILE = 50_000_000
"""Bytes; the published network's has 170 million."""

_COLUMNS = ("sequence", "frames", "people", "refined", "unchanged", "kept", "dropped", "added")


class RefineSettings(Section):
    """conf/refine.yaml."""

    model: ModelSettings
    objective: Objective
    dataset: PredictionSettings
    device: str
    precision: PrecisionSetting
    flip: bool
    scale: ScaleRule
    iterations: Iterations
    margin: Margin
    min_score: Score | None
    strict: bool
    skip_broken: bool
    overwrite: bool
    side_files: bool
    visualize: bool
    output_dir: str


@dataclass(frozen=True)
class Input:
    """The predictions, what is wrong with files that are left out, the images, and the ground truth if there is any.

    Doubts are about people in the files: who is in no frame, and poses that do not look like their skeleton.
    """

    file_format: Format
    files: list[PoseFile]
    broken: list[str]
    doubts: list[str]
    images: ImageSource
    scored: tuple[Truth, Scores] | None


@dataclass
class _Share:
    """What one process did: the counts of what it has written, its parts of shared files, whether it was stopped."""

    device_name: str
    tallies: dict[str, Tally] = field(default_factory=dict)
    parts: list[RefinedPart] = field(default_factory=list)
    stopped: bool = False


def refine(settings: RefineSettings) -> int:
    """Refines predictions, writes them and a report, and prints what happened.

    Returns:
        The exit status: 0 if every pose was refined or rightly left unchanged, 3 if poses failed, files were skipped or
        nobody was refined, 130 if a signal stopped the run.

    Raises:
        UserError: An input is absent or broken, an output cannot be written, or another process of the run is gone.
    """
    processes = Processes.from_environment()
    file_format: Format = build("dataset.format", settings.dataset.format)
    if settings.model.weights is None:
        settings = settings.model_copy(update={"model": _chosen_model(settings, file_format, processes.is_first)})
    model = settings.model
    architecture = None if model.architecture == "auto" else model.architecture
    skeleton = None if model.skeleton == "auto" else get_skeleton(model.skeleton)
    network = load_network(str(model.weights), architecture, skeleton, model.input)
    refiner = PoseRefiner(
        network,
        str(processes.own_device(select_device(settings.device))),
        settings.precision,
        settings.flip,
        scale=settings.scale,
        iterations=settings.iterations,
        margin=settings.margin,
    )
    if settings.min_score is None:
        min_score = 0.0 if file_format.metric == "posetrack" else refiner.default_min_score
        settings = settings.model_copy(update={"min_score": min_score})
    is_demo = find_weights(str(model.weights)) == find_weights("demo")
    if is_demo and settings.dataset.name != "sample" and processes.is_first:
        warn("model=demo has seen drawn people alone; for photographs leave it out, or use model=photo")
    if processes.is_first and (warning := slow_precision(refiner.precision, refiner.device)):
        warn(warning)

    processes.join(torch.device("cpu"))  # poses and counts are exchanged, no tensors
    try:
        with stop_signals():
            report = _refine_predictions(settings, file_format, refiner, processes)
    finally:
        processes.leave()

    if report is None:  # the first process reports
        return 0
    from hpr.cli.refine_results import print_summary

    print_summary(report)
    if report["stopped"]:
        return 130
    return 3 if report["failed"] or report["broken_files"] or not report["persons"]["refined"] else 0


def _chosen_model(settings: RefineSettings, file_format: Format, is_first: bool) -> ModelSettings:
    """Returns the model with the weights that suit a format, and says which they are.

    Raises:
        UserError: The model has no weights and is not chosen automatically.
    """
    if settings.model.architecture != "auto":
        raise UserError("model.weights is not set; add model.weights=FILE to the command")
    weights, what = find_weights("photo"), "the photograph refiner"
    if file_format.metric == "posetrack":
        with suppress(UserError):
            weights, what = find_weights("published"), "the published weights"
    if is_first:
        print(f"model=auto: {what}, {weights}")
    return settings.model.model_copy(update={"weights": str(weights)})


def _refine_predictions(
    settings: RefineSettings, file_format: Format, refiner: PoseRefiner, processes: Processes
) -> dict[str, Any] | None:
    """Reads, checks, refines, writes, scores and reports; returns the report in the first process, None in others."""
    source, output = _read_input(settings, file_format, processes.is_first), Path(settings.output_dir)
    with lock_folder(output) if processes.is_first else nullcontext():
        processes.wait()  # no process writes before the folder is known to be free
        start = time.perf_counter()
        journal = Journal(output, _settings_of_results(settings, refiner, source.file_format))
        entries = {} if settings.overwrite else {file.path: journal.finished(file) for file in source.files}
        finished = {path: tallies for path, tallies in entries.items() if tallies is not None}
        if finished and processes.is_first:
            print(f"{len(finished)} of {counted(len(source.files), 'file')} finished by an earlier run, skipped")
        processes.wait()  # all have seen the same state of the folder before one of them changes it

        left = [file for file in source.files if file.path not in finished]
        if processes.is_first and settings.precision == "auto" and refiner.device.type == "cpu":
            people = sum(own.people for file in left for own in file.sequences)
            passes = settings.iterations * (2 if settings.flip else 1)
            cores = torch.get_num_threads() * processes.count
            is_large = find_weights(str(settings.model.weights)).stat().st_size > _LARGE_FILE
            if advice := bf16_advice(people, is_large, passes, cores):
                print(advice)
        shares = share([file.sequences for file in left], processes.count)
        side_files = output / "all_keypoints" if settings.side_files else None

        def assemble() -> FileAssembly:
            return FileAssembly(source.file_format, left, shares, output / "predictions", journal.note, side_files)

        own = _refine_share(settings, refiner, source.images, left, shares, processes, assemble())
        all_shares = processes.gathered(own)
        if not processes.is_first:
            return None

        tallies = {name: tally for sequences in finished.values() for name, tally in sequences.items()}
        with assemble() as assembly:  # of the files that several processes have parts of
            for share_of_rank in all_shares:
                tallies |= share_of_rank.tallies
                for part in share_of_rank.parts:
                    tallies |= assembly.add(part)
            tallies |= assembly.finish()
        earlier = sum(tally.refined for sequences in finished.values() for tally in sequences.values())
        refined_now = sum(tally.refined for tally in tallies.values()) - earlier
        seconds = time.perf_counter() - start
        figures = {"skipped_files": len(finished), "refined_now": refined_now, "seconds": seconds}
        return _report(settings, refiner, source, all_shares, dict(sorted(tallies.items())), figures)


def _read_input(settings: RefineSettings, file_format: Format, is_first: bool) -> Input:
    """Reads and scores the predictions, so that what is wrong with any input is found before the long work."""
    dataset, output = settings.dataset, Path(settings.output_dir)
    for name in ("images", "predictions", "annotations"):
        path = getattr(dataset, name)
        # The sample's weights are not meant for files of the user.
        if dataset.name == "sample" and path is not None and not Path(str(path)).is_relative_to(ASSETS):
            remedy = "dataset=sample is the bundled clips; for files of your own add dataset=auto"
            raise UserError(f"{short_name(f'dataset.{name}')}={path}: {remedy}")
    if dataset.images is None:
        raise UserError("images is not set; add images=FOLDER, or a video or picture, to the command")
    if dataset.name == "auto" and is_first:
        print(f"{dataset.predictions}: taken for the format {file_format.name} ({file_format.looks_like})")
    images = open_images(dataset.images, dataset.outside, dataset.orientation)

    broken: list[str] = []
    with progress_bar("files", shown=is_first, doing="reading") as progress:
        skipped = broken if settings.skip_broken else None
        files = read_files(file_format, Path(dataset.predictions), progress, skipped)
    for problem in broken if is_first else ():
        warn(f"{problem}; this file is skipped")
    sequences = [sequence for file in files for sequence in file.sequences]
    doubts = check_skeletons(sequences, dataset.skeleton is not None)
    if not any(sequence.people for sequence in sequences):
        num_frames = sum(len(sequence.frames) for sequence in sequences)
        doubts.append(f"{dataset.predictions}: no people in its {counted(num_frames, 'image')}")
    for doubt in doubts if is_first else ():
        warn(doubt)

    source = files[0].path.resolve()
    for folder in (output, output / "predictions"):
        if folder.resolve() in (source, source.parent):
            raise UserError(f"{folder}: these are the predictions to be refined; set another output_dir")
    for warning in check_images(files, images) if is_first else ():
        warn(warning)
    if not is_first or dataset.annotations is None:
        return Input(file_format, files, broken, doubts, images, None)

    from hpr.metrics.scoring import open_truth

    with progress_bar("files", len(files), doing="scoring") as progress:
        truth = open_truth(file_format, dataset.annotations)
        scores = truth.score({file.path.name: file.sequences for file in files}, progress)
    return Input(file_format, files, broken, doubts, images, (truth, scores))


def _settings_of_results(settings: RefineSettings, refiner: PoseRefiner, file_format: Format) -> dict[str, Any]:
    """Returns what two runs must share for one to continue the other."""
    dataset = settings.dataset
    return {
        "weights": content_hash(find_weights(str(settings.model.weights))),
        **settings.objective.model_dump(include={"keep", "add", "score"}),
        **settings.model_dump(include={"iterations", "margin", "flip", "scale", "min_score", "side_files"}),
        "precision": refiner.precision,
        "device": refiner.device.type,
        "format": file_format.name,
        "annotations": dataset.annotations if "annotations" in file_format.reads_beside else None,
        "skeleton": dataset.skeleton,
        "images": dataset.images,
        "orientation": dataset.orientation,
        "version": hpr.__version__,
    }


def _refine_share(
    settings: RefineSettings,
    refiner: PoseRefiner,
    images: ImageSource,
    files: Sequence[PoseFile],
    shares: Sequence[Sequence[Part]],
    processes: Processes,
    assembly: FileAssembly,
) -> _Share:
    """Refines this process's share of the files, writes those that are complete and prints a row for each sequence."""
    own, parts = _Share(refiner.device_name), shares[processes.rank]
    width = max(len(name) for name in (_COLUMNS[0], *(own.name for file in files for own in file.sequences)))
    header = [format_row(_COLUMNS, width, 11)] if processes.is_first else []

    def note(tallies: dict[str, Tally]) -> None:
        own.tallies |= tallies
        for name, tally in tallies.items():
            if header:
                say(header.pop())
            counts = (tally.frames, tally.people, tally.refined, tally.passed_through)
            say(format_row((name, *counts, tally.kept, tally.dropped, tally.added), width, 11))

    sequences, num_people = [file.sequences for file in files], sum(part.people for part in parts)
    with progress_bar("people", num_people, shown=processes.is_first) as progress, assembly:
        try:
            how = settings.objective, settings.min_score or 0.0, progress, settings.strict
            stream = refine_parts(refiner, sequences, parts, images, *how)
            for refined in stream:
                for problem, count in refined.tally.bad_images.items():
                    warn(f"{problem}; {counted(count, 'pose')} of it unchanged")
                note(assembly.add(refined))
        except KeyboardInterrupt:
            own.stopped = True
        note(assembly.finish())
        own.parts = assembly.incomplete()
    return own


def _report(
    settings: RefineSettings,
    refiner: PoseRefiner,
    source: Input,
    shares: Sequence[_Share],
    tallies: dict[str, Tally],
    figures: dict[str, Any],
) -> dict[str, Any]:
    """Scores and draws the results unless the run was stopped, and writes and returns the report."""
    from hpr.cli.refine_results import inspect_results, write_report
    from hpr.report.refine_report import Findings

    output = Path(settings.output_dir)
    facts: dict[str, Any] = {
        "broken_files": source.broken,
        "doubts": source.doubts,
        "stopped": any(own.stopped for own in shares),
        "device": " and ".join(sorted({own.device_name for own in shares})),
        "precision": refiner.precision,
        "format": source.file_format.name,
        "processes": len(shares),
        "settings": settings.model_dump(),
        "sequences": {name: tally.as_json() for name, tally in tallies.items()},
        "pictures": [],
        "page": "report.html",
        **figures,
    }

    findings = Findings()
    if not facts["stopped"]:
        results = output / "predictions"
        try:
            findings = inspect_results(source, results)
            if settings.visualize:
                from hpr.cli.visualize import draw, pair_sequences

                refined = [
                    replace(file, sequences=source.file_format.read(results / file.output_name))
                    for file in source.files
                ]
                pairs = pair_sequences(source.files, refined)
                draw(pairs, source.images, output / "pictures", overwrite=True)
                facts["pictures"].append("pictures")
        except KeyboardInterrupt:
            facts["stopped"] = True
    return write_report(facts, tallies, findings, output)


def complete_overrides(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides with dataset=auto where they name predictions but no data set."""
    names = {override.partition("=")[0] for override in overrides}
    is_incomplete = "dataset.predictions" in names and "dataset" not in names
    return [*overrides, *(["dataset=auto"] if is_incomplete else [])]


COMMAND = app.Command("refine", RefineSettings, refine, complete=complete_overrides)
