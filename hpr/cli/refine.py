"""`hpr refine`: refine estimated poses."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import hpr
from hpr.cli import app
from hpr.cli.components import build
from hpr.cli.progress import progress_bar, say, warn
from hpr.cli.settings import Margin, ModelSettings, PredictionSettings
from hpr.crops import ScaleRule
from hpr.errors import UserError
from hpr.formats import Format
from hpr.images import ImageSource, open_images
from hpr.models.checkpoints import load_network
from hpr.refine.engine import PoseRefiner
from hpr.refine.files import FileAssembly, PoseFile, check_images, read_files
from hpr.refine.objective import Iterations, Objective
from hpr.refine.resume import Journal, content_hash
from hpr.refine.sharing import Part, RefinedPart, share
from hpr.refine.stream import refine_parts
from hpr.refine.tally import Tally
from hpr.report.tables import format_row
from hpr.runtime.device import select_device
from hpr.runtime.folders import lock_folder
from hpr.runtime.memory import keep_freed_memory
from hpr.runtime.precision import PrecisionSetting, slow_precision
from hpr.runtime.processes import Processes
from hpr.runtime.signals import stop_signals
from hpr.settings import Section
from hpr.skeleton import get_skeleton

if TYPE_CHECKING:  # loaded when the first people have been refined: it takes longer than the rest
    from hpr.metrics.scores import Scores
    from hpr.metrics.truth import Truth

_COLUMNS = ("sequence", "frames", "people", "refined", "unchanged", "kept", "dropped", "added")


class _WeightedModel(ModelSettings):
    weights: str


class RefineSettings(Section):
    """conf/refine.yaml."""

    model: _WeightedModel
    objective: Objective
    dataset: PredictionSettings
    device: str
    precision: PrecisionSetting
    flip: bool
    scale: ScaleRule
    iterations: Iterations
    margin: Margin
    strict: bool
    skip_broken: bool
    overwrite: bool
    side_files: bool
    visualize: bool
    output_dir: str


@dataclass(frozen=True)
class _Input:
    """What is refined.

    Attributes:
        file_format: Format of the predictions.
        files: The predictions.
        broken: Messages about files that are left out.
        images: Where the pixels are.
    """

    file_format: Format
    files: list[PoseFile]
    broken: list[str]
    images: ImageSource


@dataclass
class _Share:
    """What one process did.

    Attributes:
        device: Name of its device.
        tallies: Sequence name → its counts, of all files that the process has written.
        parts: Refined parts of files that other processes have parts of, too.
        stopped: Whether a signal stopped the process before its end.
    """

    device: str
    tallies: dict[str, Tally] = field(default_factory=dict)
    parts: list[RefinedPart] = field(default_factory=list)
    stopped: bool = False


def refine(settings: RefineSettings) -> int:
    """Refines predictions, writes them and a report, and prints what happened.

    Returns:
        The exit status: 0 if every pose was refined or rightly left unchanged, 3 if poses failed or files were
        skipped, 130 if a signal stopped the run.

    Raises:
        UserError: An input is absent or broken, an output cannot be written, or another process of the run is gone.
    """
    keep_freed_memory()
    _check_sample(settings.dataset)
    processes = Processes.from_environment()
    refiner = _load_refiner(settings, processes)
    if processes.is_first and (warning := slow_precision(refiner.precision, refiner.device)):
        warn(warning)

    processes.join(torch.device("cpu"))  # poses and counts are exchanged, no tensors
    try:
        with stop_signals():
            report = _refine_predictions(settings, refiner, processes)
    finally:
        processes.leave()

    if report is None:  # the first process reports
        return 0
    from hpr.cli.refine_results import print_summary

    print_summary(report)
    if report["stopped"]:
        return 130
    return 3 if report["failed"] or report["broken_files"] else 0


def _refine_predictions(settings: RefineSettings, refiner: PoseRefiner, processes: Processes) -> dict[str, Any] | None:
    """Reads, checks, refines, writes, scores and reports; returns the report in the first process, None in others."""
    source, output = _read_input(settings, processes.is_first), Path(settings.output_dir)
    scored = None
    if processes.is_first and settings.dataset.annotations is not None:
        # Before the long work, since it finds what is wrong with the annotations.
        scored = _score_input(source, settings.dataset.annotations)

    with lock_folder(output) if processes.is_first else nullcontext():
        processes.wait()  # no process writes before the folder is known to be free
        start = time.perf_counter()
        journal = Journal(output, _settings_of_results(settings, refiner, source.file_format))
        entries = {} if settings.overwrite else {file.path: journal.finished(file) for file in source.files}
        finished = {path: tallies for path, tallies in entries.items() if tallies is not None}
        if finished and processes.is_first:
            print(f"{len(finished)} of {len(source.files)} files were finished by an earlier run and are skipped")
        processes.wait()  # all have seen the same state of the folder before one of them changes it

        left = [file for file in source.files if file.path not in finished]
        shares = share([file.sequences for file in left], processes.count)
        side_files = output / "all_keypoints" if settings.side_files else None

        def assemble() -> FileAssembly:
            return FileAssembly(source.file_format, left, shares, output / "predictions", journal.note, side_files)

        own = _refine_share(settings, refiner, source.images, left, shares, processes, assemble())
        all_shares = processes.gathered(own)
        if not processes.is_first:
            return None

        tallies = {name: tally for sequences in finished.values() for name, tally in sequences.items()}
        tallies |= _merge_shares(all_shares, assemble())
        figures = {"skipped_files": len(finished), "seconds": time.perf_counter() - start}
        return _report(settings, refiner, source, scored, all_shares, dict(sorted(tallies.items())), figures)


def _check_sample(dataset: PredictionSettings) -> None:
    """Refuses the user's own files with dataset=sample, whose weights are not meant for them."""
    folders = {"images": dataset.images, "predictions": dataset.predictions, "annotations": dataset.annotations}
    for name, path in folders.items():
        if dataset.name == "sample" and path is not None and not Path(str(path)).is_relative_to(app.ASSETS):
            raise UserError(
                f"dataset.{name}={path}: dataset=sample is the bundled clips; for files of your own add dataset=auto"
            )


def _load_refiner(settings: RefineSettings, processes: Processes) -> PoseRefiner:
    model = settings.model
    network = load_network(Path(model.weights), model.architecture, get_skeleton(model.skeleton), model.input)
    device = processes.own_device(select_device(settings.device))
    return PoseRefiner(
        network,
        str(device),
        settings.precision,
        settings.flip,
        scale=settings.scale,
        iterations=settings.iterations,
        margin=settings.margin,
    )


def _read_input(settings: RefineSettings, is_first: bool) -> _Input:
    """Reads all predictions, so that broken ones are found while nothing has been written.

    Raises:
        UserError: A file is broken, none of its images exists, or the output would replace it.
    """
    dataset, output = settings.dataset, Path(settings.output_dir)
    if dataset.images is None:
        raise UserError("dataset.images is not set; add dataset.images=FOLDER, or a video or picture, to the command")
    file_format: Format = build("dataset.format", dataset.format)
    if dataset.name == "auto" and is_first:
        print(f"{dataset.predictions}: taken for the format {file_format.name} ({file_format.looks_like})")
    images = open_images(dataset.images, dataset.outside)

    broken: list[str] = []
    with progress_bar("files", shown=is_first, doing="reading") as progress:
        skipped = broken if settings.skip_broken else None
        files = read_files(file_format, Path(dataset.predictions), progress, skipped)
    for problem in broken if is_first else ():
        warn(f"{problem}; this file is skipped")

    source = files[0].path.resolve()
    for folder in (output, output / "predictions"):
        if folder.resolve() in (source, source.parent):
            raise UserError(f"{folder}: these are the predictions to be refined; set another output_dir")
    check_images(files, images)
    return _Input(file_format, files, broken, images)


def _score_input(source: _Input, annotations: str) -> "tuple[Truth, Scores]":
    """Returns the ground truth, and the scores of the predictions before they are refined."""
    from hpr.metrics.scoring import open_truth

    with progress_bar("files", len(source.files), doing="scoring") as progress:
        truth = open_truth(source.file_format, annotations)
        return truth, truth.score({file.path.name: file.sequences for file in source.files}, progress)


def _settings_of_results(settings: RefineSettings, refiner: PoseRefiner, file_format: Format) -> dict[str, Any]:
    """Returns what two runs must share for one to continue the other."""
    dataset = settings.dataset
    return {
        "weights": content_hash(Path(settings.model.weights)),
        **settings.objective.model_dump(include={"keep", "add", "score"}),
        "iterations": settings.iterations,
        "margin": settings.margin,
        "flip": settings.flip,
        "precision": refiner.precision,
        "device": refiner.device.type,
        "format": file_format.name,
        "annotations": dataset.annotations if "annotations" in file_format.reads_beside else None,
        "side_files": settings.side_files,
        "images": dataset.images,
        "scale": settings.scale,
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
    if processes.is_first:
        say(format_row(_COLUMNS, width, 11))

    def note(tallies: dict[str, Tally]) -> None:
        own.tallies |= tallies
        for name, tally in tallies.items():
            counts = (tally.frames, tally.people, tally.refined, tally.passed_through)
            say(format_row((name, *counts, tally.kept, tally.dropped, tally.added), width, 11))

    sequences, num_people = [file.sequences for file in files], sum(part.people for part in parts)
    with progress_bar("people", num_people, shown=processes.is_first) as progress, assembly:
        try:
            for refined in refine_parts(
                refiner, sequences, parts, images, settings.objective, progress, settings.strict
            ):
                for problem, count in refined.tally.bad_images.items():
                    warn(f"{problem}; its {count} poses stay unchanged")
                note(assembly.add(refined))
        except KeyboardInterrupt:
            own.stopped = True
        note(assembly.finish())
        own.parts = assembly.incomplete()
    return own


def _merge_shares(shares: Sequence[_Share], assembly: FileAssembly) -> dict[str, Tally]:
    """Writes the files that several processes have parts of; returns the counts of all sequences by name."""
    tallies = {name: tally for own in shares for name, tally in own.tallies.items()}
    with assembly:
        for part in (part for own in shares for part in own.parts):
            tallies |= assembly.add(part)
        return tallies | assembly.finish()


def _report(
    settings: RefineSettings,
    refiner: PoseRefiner,
    source: _Input,
    scored: "tuple[Truth, Scores] | None",
    shares: Sequence[_Share],
    tallies: dict[str, Tally],
    figures: dict[str, Any],
) -> dict[str, Any]:
    """Scores and draws the results unless the run was stopped, and writes and returns the report."""
    from hpr.cli.refine_results import inspect_results, movement_warnings, sum_tallies, write_report
    from hpr.report.refine_report import Findings

    total, output = sum_tallies(tallies), Path(settings.output_dir)
    report: dict[str, Any] = {
        **total.as_json(),
        "warnings": movement_warnings(total),
        "failed": total.failed,
        "broken_files": source.broken,
        "stopped": any(own.stopped for own in shares),
        "device": " and ".join(sorted({own.device for own in shares})),
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
    if not report["stopped"]:
        results = output / "predictions"
        try:
            findings = inspect_results(source.file_format, source.files, results, source.images, tallies, scored)
            if settings.visualize:
                from hpr.cli.visualize import draw, pair_sequences

                refined = [
                    replace(file, sequences=source.file_format.read(results / file.output_name))
                    for file in source.files
                ]
                pairs = pair_sequences(source.files, refined)
                draw(pairs, source.images, output / "pictures", "side", every=1, overwrite=True)
                report["pictures"].append("pictures")
        except KeyboardInterrupt:
            report["stopped"] = True
    write_report(report, tallies, findings, output)
    return report


def complete_overrides(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides with dataset=auto where they name predictions but no data set."""
    names = {override.partition("=")[0] for override in overrides}
    is_incomplete = "dataset.predictions" in names and "dataset" not in names
    return [*overrides, *(["dataset=auto"] if is_incomplete else [])]


COMMAND = app.Command("refine", RefineSettings, refine, complete=complete_overrides)
