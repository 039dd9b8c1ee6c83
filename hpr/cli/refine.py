"""Refine estimated poses: hpr-refine, python refine.py objective=mota dataset.predictions=DIR."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

import hpr
from hpr.cli import app
from hpr.cli.progress import progress_bar, say
from hpr.cli.refine_page import PICTURES, Findings, moved_pictures, refine_page, worse_pictures
from hpr.cli.settings import Margin, ModelSettings, PredictionSettings, Section
from hpr.cli.visualize import draw_results
from hpr.crops import ScaleRule
from hpr.errors import UserError
from hpr.metrics.comparison import Compared, comparison_table, save_chart
from hpr.metrics.frame_changes import frame_changes
from hpr.metrics.posetrack import NamedSequences
from hpr.metrics.scoring import compared
from hpr.files import write_json
from hpr.formats import Format
from hpr.images import ImageSource, open_images
from hpr.refine.engine import PoseRefiner
from hpr.models.loading import load_network
from hpr.refine.objective import Iterations, Objective
from hpr.poses import Frame
from hpr.refine.files import FileAssembly, PoseFile, RefinedPiece, check_images, read_files, refine_share
from hpr.refine.resume import Journal, content_hash
from hpr.refine.sharing import Part, share
from hpr.refine.tally import Tally
from hpr.report.drawing import save_comparison
from hpr.report.page import save_page
from hpr.report.tables import format_row
from hpr.runtime.device import select_device
from hpr.runtime.folders import sole_use
from hpr.runtime.memory import keep_freed_memory
from hpr.runtime.precision import PrecisionSetting, slow_precision
from hpr.runtime.processes import Processes
from hpr.skeleton import get_skeleton

_PICTURED_FILES = 3

_COLUMNS = ("sequence", "frames", "persons", "refined", "as were", "kept", "dropped", "added")

_OWN_PREDICTIONS = """
This was the bundled sample: drawn people, and weights that have seen no others. To refine your own predictions,
port the published weights (python tools/port_tf_weights.py) or train (python train.py), and run
  python refine.py dataset.predictions=FILE_OR_FOLDER dataset.images=FOLDER [model.weights=FILE]"""


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


@dataclass
class _Share:
    """What one process did.

    Attributes:
        device: Its device's name.
        tallies: What happened in each sequence whose file it has written.
        pieces: Its pieces of files that other processes have pieces of, too.
        failure: Why it did not refine all of its share.
        stopped: Whether it was told to stop before the end.
    """

    device: str
    tallies: dict[str, Tally] = field(default_factory=dict)
    pieces: list[RefinedPiece] = field(default_factory=list)
    failure: str | None = None
    stopped: bool = False


@dataclass(frozen=True)
class _Run:
    """What all parts of a run need.

    Attributes:
        settings: Of the command.
        refiner: The engine.
        processes: This one among those at work.
        file_format: Of the predictions.
        images: Where their pixels are.
        journal: Of the output folder.
    """

    settings: RefineSettings
    refiner: PoseRefiner
    processes: Processes
    file_format: Format
    images: ImageSource
    journal: Journal

    @property
    def output(self) -> Path:
        """The folder that is written to."""
        return Path(self.settings.output_dir)

    @property
    def side_files(self) -> Path | None:
        """The folder for all keypoints that the network knows, if they are wanted."""
        return self.output / "all_keypoints" if self.settings.side_files else None

    def assembly(self, files: Sequence[PoseFile], shares: Sequence[Sequence[Part]]) -> FileAssembly:
        """Returns what puts refined pieces of files together and writes them."""
        return FileAssembly(
            self.file_format, files, shares, self.output / "predictions", self.journal.note, self.side_files
        )


def refine(settings: RefineSettings) -> dict[str, Any] | None:
    """Refines predictions, writes them and report.json, and prints what happened.

    Returns:
        The report, in the first process; None in others that torchrun may have started.

    Raises:
        UserError: An input is absent or broken, an output cannot be written, or a process failed.
    """
    keep_freed_memory()
    _check_sample(settings.dataset)
    processes = Processes.from_environment()
    refiner = _refiner(settings, processes)
    if processes.is_first and (warning := slow_precision(refiner.precision, refiner.device)):
        print(f"warning: {warning}")
    processes.join(torch.device("cpu"))  # poses and counts are exchanged, no tensors
    try:
        with _signals_as_interrupt():
            report = _refine(settings, refiner, processes)
    finally:
        processes.leave()

    if report is not None:
        _print_summary(settings, report)
        if report["failures"]:
            raise UserError(f"not all sequences were refined: {'; '.join(report['failures'])}")
    return report


def _check_sample(dataset: PredictionSettings) -> None:
    """Refuses other files than its own under the default data set: its weights are not meant for them."""
    folders = {"images": dataset.images, "predictions": dataset.predictions, "annotations": dataset.annotations}
    for name, path in folders.items():
        if dataset.name == "sample" and path is not None and not Path(str(path)).is_relative_to(app.ASSETS):
            raise UserError(
                f"dataset.{name}={path}: dataset=sample is the bundled clips; for files of your own add dataset=auto"
            )


def _refiner(settings: RefineSettings, processes: Processes) -> PoseRefiner:
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


def _refine(settings: RefineSettings, refiner: PoseRefiner, processes: Processes) -> dict[str, Any] | None:
    """Reads, refines and writes; returns the report in the first process."""
    dataset, output = settings.dataset, Path(settings.output_dir)
    if dataset.images is None:
        raise UserError("dataset.images is not set; add dataset.images=FOLDER, or a video or picture, to the command")
    file_format: Format = app.build("dataset.format", dataset.format)
    if dataset.name == "auto" and processes.is_first:
        print(f"{dataset.predictions}: taken for the format {file_format.name} ({file_format.looks_like})")
    journal = Journal(output, _what_results_depend_on(settings, refiner, file_format))
    images = open_images(dataset.images, dataset.outside)
    run = _Run(settings, refiner, processes, file_format, images, journal)

    broken: list[str] | None = [] if settings.skip_broken else None
    files = _read(run, broken)
    _check_output(output, files[0].path)
    check_images(files, images)
    # Scoring the input first finds what is wrong with the annotations before the long work.
    comparison = _comparison(run, files) if processes.is_first else None

    with sole_use(output) if processes.is_first else nullcontext():
        processes.wait()  # no process writes before the folder is known to be free
        return _refine_files(run, files, comparison, broken or [])


def _check_output(output: Path, source: Path) -> None:
    """Refuses to write to where the predictions are."""
    for folder in (output, output / "predictions"):
        if folder.resolve() in (source.resolve(), source.resolve().parent):
            raise UserError(f"{folder}: these are the predictions to be refined; set another output_dir")


def _refine_files(
    run: _Run, files: Sequence[PoseFile], comparison: Compared | None, broken: Sequence[str]
) -> dict[str, Any] | None:
    """Refines files that have been read and checked; returns the report in the first process."""
    start = time.perf_counter()
    finished = {} if run.settings.overwrite else _finished(run.journal, files)
    if finished and run.processes.is_first:
        print(f"{len(finished)} of {len(files)} files were finished by an earlier run and are skipped")
    left = [file for file in files if file.path not in finished]
    run.processes.wait()  # all have seen the same state of the folder before one of them changes it

    shares = share([file.sequences for file in left], run.processes.count)
    own = _refine_share(run, left, shares)
    all_shares, is_one_lost = _gathered(own, run.processes)
    if not (run.processes.is_first or is_one_lost):
        return None
    tallies = _merged(all_shares, run.assembly(left, shares))
    if is_one_lost:  # what it has finished stands in the journal
        finished = _finished(run.journal, files)
    tallies |= {name: tally for sequences in finished.values() for name, tally in sequences.items()}
    tallies = dict(sorted(tallies.items()))

    report = _report(run, all_shares, tallies, time.perf_counter() - start, broken)
    report["skipped_files"] = len(finished)
    findings = Findings()
    if not report["failures"] and not report["stopped"]:
        try:
            _compare(run, files, comparison, report, tallies, findings)
            if run.settings.visualize:
                draw_results(run.file_format, files, run.output / "predictions", run.images, run.output / "pictures")
                report["pictures"].append("pictures")
        except KeyboardInterrupt:
            report["stopped"] = True
    write_json(run.output / "report.json", report, indent=4)
    save_page(refine_page(report, _total(tallies), tallies, findings), run.output / report["page"])
    return report


def _gathered(own: _Share, processes: Processes) -> tuple[list[_Share], bool]:
    """Returns the shares of all processes, and whether one is lost: then this one's alone, with a failure.

    If the first process is lost, the others notice, and write the report in its place.
    """
    try:
        return processes.gathered(own), False
    except (RuntimeError, KeyboardInterrupt) as error:  # killed, say
        for number in (signal.SIGTERM, signal.SIGINT):  # torchrun stops the others, too; the report comes first
            signal.signal(number, signal.SIG_IGN)
        reason = str(error).splitlines()[0] if str(error) else "stopped"
        own.failure = own.failure or f"another process was lost ({reason})"
        return [own], True


def _what_results_depend_on(settings: RefineSettings, refiner: PoseRefiner, file_format: Format) -> dict[str, Any]:
    """Returns what two runs have to share for one to go on with what the other has done."""
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


def _finished(journal: Journal, files: Sequence[PoseFile]) -> dict[Path, dict[str, Tally]]:
    """Returns what happened in the files that an earlier run has finished."""
    found = {file.path: journal.finished(file) for file in files}
    return {path: tallies for path, tallies in found.items() if tallies is not None}


@contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """Makes SIGTERM, by which clusters stop a program, do what Ctrl-C does."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _read(run: _Run, broken: list[str] | None) -> list[PoseFile]:
    is_first = run.processes.is_first
    with progress_bar("files", shown=is_first, doing="reading") as progress:
        files = read_files(run.file_format, Path(run.settings.dataset.predictions), progress, broken)
    for problem in broken or () if is_first else ():
        print(f"warning: {problem}; this file is skipped")
    return files


def _comparison(run: _Run, files: Sequence[PoseFile]) -> Compared | None:
    """Scores the input, if there are annotations."""
    dataset = run.settings.dataset
    if dataset.annotations is None:
        return None
    before = {file.path.name: file.sequences for file in files}
    with progress_bar("files", len(files), doing="scoring") as progress:
        return compared(run.file_format, dataset.annotations, before, dataset.predictions, progress)


def _refine_share(run: _Run, files: Sequence[PoseFile], shares: Sequence[Sequence[Part]]) -> _Share:
    """Refines this process's share of the files and prints a row for each sequence."""
    processes, settings = run.processes, run.settings
    own, parts = _Share(run.refiner.device_name), shares[processes.rank]
    names = [sequence.name for file in files for sequence in file.sequences]
    width = max(len(name) for name in (_COLUMNS[0], *names))
    if processes.is_first:
        say(format_row(_COLUMNS, width))
    people = sum(part.people for part in parts)
    try:
        with (
            progress_bar("persons", people, shown=processes.is_first) as progress,
            run.assembly(files, shares) as assembly,
        ):
            try:
                for piece in refine_share(run.refiner, files, parts, run.images, settings.objective, progress, settings.strict):
                    _print_bad_images(piece.tally)
                    own.tallies |= _print_rows(assembly.put(piece), width)
                own.tallies |= _print_rows(assembly.rest(), width)
            except KeyboardInterrupt:
                own.stopped = True
                own.tallies |= _print_rows(assembly.rest(), width)
            own.pieces = assembly.incomplete()
    except Exception as error:
        if processes.count == 1:
            raise
        own.failure = f"process {processes.rank}: {error}"
    return own


def _merged(shares: Sequence[_Share], assembly: FileAssembly) -> dict[str, Tally]:
    """Writes the files that several processes had pieces of; returns what happened in each sequence, by name."""
    tallies = {name: tally for own in shares for name, tally in own.tallies.items()}
    with assembly:
        for piece in (piece for own in shares for piece in own.pieces):
            tallies |= assembly.put(piece)
        tallies |= assembly.rest()
    return tallies


def _report(
    run: _Run,
    shares: Sequence[_Share],
    tallies: dict[str, Tally],
    seconds: float,
    broken: Sequence[str],
) -> dict[str, Any]:
    """Returns the content of report.json."""
    total = _total(tallies)
    return {
        **total.as_json(),
        "warnings": _warnings(total),
        "failed": total.failed,
        "broken_files": list(broken),
        "failures": [own.failure for own in shares if own.failure],
        "stopped": any(own.stopped for own in shares),
        "seconds": seconds,
        "device": " and ".join(sorted({own.device for own in shares})),
        "precision": run.refiner.precision,
        "format": run.file_format.name,
        "processes": len(shares),
        "settings": run.settings.model_dump(),
        "sequences": {name: tally.as_json() for name, tally in tallies.items()},
        "pictures": [],
        "page": "report.html",
    }


def _total(tallies: dict[str, Tally]) -> Tally:
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    return total


def _warnings(total: Tally) -> list[str]:
    """Returns what a user should look into, although all has been refined."""
    poses = total.moved.total()
    if 2 * total.moved_far <= poses:
        return []
    moved = f"{total.moved_far} of {poses} refined poses moved by more than half a head"
    return [f"{moved}; these weights may not suit these images"]


def _compare(
    run: _Run,
    files: Sequence[PoseFile],
    comparison: Compared | None,
    report: dict[str, Any],
    tallies: dict[str, Tally],
    findings: Findings,
) -> None:
    """Adds to a report, and to what is found for its page, what can be seen of a whole run: frames and scores."""
    # What has been written is what is drawn and scored.
    refined = cache(lambda name: run.file_format.read(run.output / "predictions" / name))
    pairs = [_middle_frames(file, refined(file.path.name)) for file in files[:_PICTURED_FILES]]
    if save_comparison([pair for pair in pairs if pair], run.images, run.output / "frames.jpg"):
        report["pictures"].append("frames.jpg")
    findings.moved = moved_pictures(tallies, files, refined, run.images)
    if comparison is not None:
        _score(run, files, comparison, report, {file.path.name: refined(file.path.name) for file in files}, findings)


def _score(
    run: _Run,
    files: Sequence[PoseFile],
    comparison: Compared,
    report: dict[str, Any],
    refined: NamedSequences,
    findings: Findings,
) -> None:
    """Adds the scores before and after, and what refining did to the annotated frames."""
    before, after = comparison.before, comparison.after(refined)
    report["metrics"] = {"before": before.summary(), "after": after.summary(), "warnings": after.warnings}
    if save_chart(before, after, run.output / "metrics.png"):
        report["pictures"].append("metrics.png")
    print(f"\n{comparison_table(before, after)}")
    for warning in after.warnings:
        print(f"warning: {warning}")

    findings.scores = (before, after)
    given = {file.path.name: file.sequences for file in files}
    annotations = run.settings.dataset.annotations
    assert annotations is not None
    with suppress(UserError):  # scoring has said what is wrong
        findings.changes = frame_changes(run.file_format, annotations, given, refined, PICTURES)
        findings.worse = worse_pictures(findings.changes, run.images)


def _middle_frames(file: PoseFile, refined: Sequence[Any]) -> tuple[Frame, Frame] | None:
    """Returns the middle one of the frames with people, before and after; None where there are no people."""
    before = [frame for sequence in file.sequences for frame in sequence.frames]
    after = [frame for sequence in refined for frame in sequence.frames]
    populated = [pair for pair in zip(before, after, strict=True) if len(pair[0])]
    return populated[len(populated) // 2] if populated else None


def _print_rows(tallies: dict[str, Tally], width: int) -> dict[str, Tally]:
    for name, tally in tallies.items():
        counts = (tally.frames, tally.people, tally.refined, tally.passed_through)
        say(format_row((name, *counts, tally.kept, tally.dropped, tally.added), width))
    return tallies


def _print_bad_images(tally: Tally) -> None:
    for problem, people in tally.bad_images.items():
        say(f"warning: {problem}; its {people} poses stay as they were")


def _print_summary(settings: RefineSettings, report: dict[str, Any]) -> None:
    persons, joints = report["persons"], report["joints"]
    rate = f"{persons['seen'] / report['seconds']:.2f} persons per second"
    reasons = "".join(f", {count}: {reason}" for reason, count in persons["reasons"].items())
    print(f"\n{'persons':<8} {persons['refined']} of {persons['seen']} refined{reasons}")
    print(f"{'joints':<8} {joints['kept']} kept, {joints['dropped']} dropped, {joints['added']} added")
    if (movement := report["movement"])["poses"]:
        far = f"{100 * movement['above_half_a_head']:.1f} % above half a head"
        print(f"{'moved':<8} {movement['median']:.2f} head sizes in the median, {movement['p95']:.2f} at 95 %, {far}")
    print(f"{'time':<8} {report['seconds']:.1f} s on {report['device']} in {report['precision']}, {rate}")
    written = ", ".join(["predictions", "report.json", report["page"], *report["pictures"]])
    print(f"{'wrote':<8} {settings.output_dir}: {written}")
    for warning in report["warnings"]:
        print(f"warning: {warning}")
    if report["stopped"]:
        print(f"\nstopped: {len(report['sequences'])} sequences are complete; the same command goes on")
        return
    if report["failed"] or report["broken_files"]:
        print(
            f"\nnot all was refined: {report['failed']} poses failed, {len(report['broken_files'])} files were skipped"
        )
    if settings.dataset.name == "sample":
        print(_OWN_PREDICTIONS)


def exit_status(report: dict[str, Any] | None) -> int:
    """Returns 0 where everything was refined or rightly passed through; docs/refining.md has the others."""
    if report is None:
        return 0
    if report["stopped"]:
        return 130  # as shells report a command stopped by Ctrl-C
    return 3 if report["failed"] or report["broken_files"] else 0


def with_data_set(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line with dataset=auto where they name predictions but no data set."""
    names = [word.partition("=")[0] for word in words]
    if "dataset.predictions" not in names or "dataset" in names:
        return list(words)
    place = names.index("dataset.predictions")  # beside other settings: options such as --cfg may follow these
    return [*words[:place], "dataset=auto", *words[place:]]


COMMAND = app.Command("refine", RefineSettings, refine, exit_status, with_data_set)
