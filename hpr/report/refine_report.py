"""The page report.html of a run of `hpr refine`."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any

from hpr.images import ImageSource
from hpr.metrics.frame_changes import FrameChanges
from hpr.metrics.scores import Scores, sequence_changes
from hpr.poses import Frame, PoseSequence
from hpr.refine.files import PoseFile
from hpr.refine.results import Outcome
from hpr.refine.tally import BINS_PER_HEAD, CONFIDENCE_BINS, LAST_BIN, Tally
from hpr.report.charts import bars_svg, histogram_svg
from hpr.report.drawing import draw_poses
from hpr.report.html import Fact, Page, Picture, Section, Table, crop_around, jpeg_bytes
from hpr.report.tables import NOTHING, number

NUM_PICTURES = 6
"""Number of frames shown that changed most, and that got worse."""

_NUM_SEQUENCES = 8
"""Number of sequences listed that gained most, and that lost most."""

_MOVEMENT_BINS = 20
"""Bins of a twentieth of a head each; one more holds the rest."""


@dataclass
class Findings:
    """What a run's own files show, besides its counts.

    Attributes:
        scores: Scores before and after; None without annotations.
        changes: Effect of refining on the annotated frames.
        moved: Pictures of the frames that changed most.
        worse: Pictures of the frames that got worse.
    """

    scores: tuple[Scores, Scores] | None = None
    changes: FrameChanges | None = None
    moved: list[Picture] = field(default_factory=list)
    worse: list[Picture] = field(default_factory=list)


def refine_page(report: Mapping[str, Any], total: Tally, tallies: Mapping[str, Tally], findings: Findings) -> Page:
    """Returns the page of a run.

    Args:
        report: Content of report.json.
        total: Counts of all sequences together.
        tallies: Sequence name → its counts.
        findings: Scores and pictures.
    """
    dataset, objective = report["settings"]["dataset"], report["settings"]["objective"]["name"]
    settings = Table("", ("setting", "value"), list(_flatten(report["settings"])), is_text=True)
    sections = [
        _scores_section(findings),
        *_sequence_changes_section(findings),
        _distributions_section(total),
        Section("Frames that changed most", _note_if_empty(findings.moved, "frame was drawn"), pictures=findings.moved),
        *_worse_section(findings),
        _unchanged_section(total, tallies),
        _sequences_section(tallies),
        Section("Settings", tables=[settings], is_folded=True),
    ]
    subtitle = f"{dataset['predictions']} ({report['format']}), objective {objective}"

    warnings = ["the run was stopped before its end; the same command continues it"] if report["stopped"] else []
    if report["failed"]:
        warnings.append(f"{report['failed']} poses should have been refined and were not; see below")
    warnings += [f"{problem}; this file was skipped" for problem in report["broken_files"]]
    warnings += [*report["warnings"], *(findings.scores[1].warnings if findings.scores else [])]
    return Page("Refined poses", subtitle, _facts(report, findings), warnings, sections)


def moved_pictures(
    tallies: Mapping[str, Tally],
    files: Sequence[PoseFile],
    refined: Callable[[str], Sequence[PoseSequence]],
    images: ImageSource,
) -> list[Picture]:
    """Draws the frames whose poses moved farthest, the farthest first.

    `tallies` are the counts of each sequence by name; `refined` returns the refined sequences of a file by its name.
    """
    moved_frames = ((name, moved) for name, tally in tallies.items() for moved in tally.moved_most)
    ranked = list(enumerate(nlargest(NUM_PICTURES, moved_frames, key=lambda one: one[1].heads)))

    pictures: dict[int, Picture] = {}
    for file in files:  # in the order of files and frames, so that a video is read once
        for index, sequence in enumerate(file.sequences):
            own = [(rank, moved) for rank, (name, moved) in ranked if name == sequence.name]
            for rank, moved in sorted(own, key=lambda one: one[1].frame):
                before = sequence.frames[moved.frame : moved.frame + 1]
                if not before or before[0].image != moved.image:
                    continue  # another sequence of the same name
                after = refined(file.path.name)[index].frames[moved.frame]
                title = f"{sequence.name}, {_frame_name(moved.frame, moved.image)}"
                caption = f"moved by {moved.heads:.2f} head sizes on average"
                pictures[rank] = _draw_frame(title, caption, (before[0], after), images)
    return [pictures[rank] for rank in sorted(pictures)]


def worse_pictures(changes: FrameChanges, images: ImageSource) -> list[Picture]:
    """Draws the annotated frames that lost most, with their ground truth."""
    pictures = []
    for change in changes.worst:
        title = f"{change.sequence}, {_frame_name(change.frame, change.poses[0].image)}"
        before, after = change.before, change.after
        caption = f"right keypoints {before.right} → {after.right}, wrong ones {before.wrong} → {after.wrong}"
        pictures.append(_draw_frame(title, caption, change.poses, images, change.truth))
    return pictures


def _frame_name(index: int, image: str) -> str:
    return f"frame {index}" + (f": {image}" if image else "")


def _draw_frame(
    title: str, caption: str, frames: tuple[Frame, Frame], images: ImageSource, truth: Frame | None = None
) -> Picture:
    """Draws a frame before and after refining. An error is shown in place of the picture and does not end the run."""
    try:
        part, corner, scale = crop_around(images.read(frames[0]), [frame.poses for frame in frames])
        labelled = {"input": frames[0], "refined": frames[1], **({"truth": truth} if truth else {})}
        drawn = {
            label: jpeg_bytes(draw_poses(part, (frame.poses - corner) * scale, frame.skeleton))
            for label, frame in labelled.items()
        }
        return Picture(title, caption, drawn)
    except Exception as error:
        return Picture(title, caption, problem=str(error) or type(error).__name__)


def _facts(report: Mapping[str, Any], findings: Findings) -> list[Fact]:
    people, keypoints, movement = report["persons"], report["joints"], report["movement"]
    unchanged = f"{people['passed_through']:,} unchanged" if people["passed_through"] else ""
    facts = [Fact(f"{people['refined']:,} of {people['seen']:,}", "people refined", unchanged)]
    if findings.scores is not None:
        old, new = findings.scores
        column = old.total_column.lower() if old.total_column.istitle() else old.total_column
        for metric, value in old.totals.items():
            if not math.isnan(gain := new.totals[metric] - value):
                shown = f"{number(value)} → {number(new.totals[metric])}"
                facts.append(Fact(shown, f"{metric}, {column}", number(gain, sign=True)))

    if movement["poses"]:
        note = f"95 % within {movement['p95']:.2f}"
        facts.append(Fact(f"{movement['median']:.2f} heads", "moved, in the median", note))
    changed = f"{keypoints['dropped']:,} dropped, {keypoints['added']:,} added"
    facts.append(Fact(f"{keypoints['kept']:,}", "keypoints kept", changed))
    facts.append(Fact(f"{report['frames']:,}", "frames", f"in {len(report['sequences']):,} sequences"))

    speed = people["seen"] / report["seconds"] if report["seconds"] else 0.0
    where = f"{speed:.1f} people per second on {report['device']} in {report['precision']}"
    return [*facts, Fact(f"{report['seconds']:,.1f} s", "time", where)]


def _scores_section(findings: Findings) -> Section:
    title = "Scores before and after"
    if findings.scores is None:
        return Section(title, ["Nothing was scored: no annotations were given, or the run did not come to its end."])

    before, after = findings.scores
    charts, tables = {}, []
    for metric, row in before.table.items():
        refined = after.table[metric]
        if all(math.isnan(value) for value in (*row.values(), *refined.values())):
            continue
        charts[metric] = bars_svg(before.columns, {"input": [*row.values()], "refined": [*refined.values()]}, "%")
        rows = [
            (name, number(old), number(refined[name]), number(refined[name] - old, sign=True))
            for name, old in row.items()
        ]
        tables.append(Table(f"{metric} (%)", ("", "input", "refined", "difference"), rows))
    return Section(title, charts=charts, tables=tables)


def _sequence_changes_section(findings: Findings) -> list[Section]:
    """Returns which sequences gained and lost, if they are scored one by one."""
    changes = sequence_changes(*findings.scores) if findings.scores else []
    if not changes:
        return []

    gained, lost = ([change for change in changes if sign * change.gain > 0] for sign in (1, -1))
    note = f"{len(gained)} of {len(changes)} sequences gained, {len(lost)} lost (mean difference of the scores)."
    listed = {"gained most": gained[:_NUM_SEQUENCES], "lost most": lost[: -_NUM_SEQUENCES - 1 : -1]}
    head = ["sequence", *(title for metric in changes[0].scores for title in (f"{metric} (%)", "difference"))]
    tables = []
    for title, own in listed.items():
        rows = [[change.name] for change in own]
        for row, change in zip(rows, own, strict=True):
            for before, after in change.scores.values():
                row += [f"{number(before)} → {number(after)}", number(after - before, sign=True)]
        tables += [Table(title, head, rows)] if own else []
    return [Section("Sequences that gained and lost", [note], tables=tables)]


def _distributions_section(total: Tally) -> Section:
    """Returns the histograms of movement and of confidence."""
    title = "How far poses moved, and how confident the network is"
    if not total.moved:
        return Section(title, ["No pose was refined."])

    counts = movement_counts(total)
    edges = [f"{index / 20:g}" for index in range(len(counts))] + ["more"]
    movement = histogram_svg(counts, edges, "poses", "head sizes that a pose's keypoints moved on average")

    counts = [total.confidences[index] for index in range(CONFIDENCE_BINS)]
    edges = [f"{index / CONFIDENCE_BINS:g}" for index in range(CONFIDENCE_BINS + 1)]
    confidence = histogram_svg(counts, edges, "keypoints", "the network's confidence")

    note = "The network's keypoints of all refined poses count, including those that were not kept."
    return Section(title, [note], {"Movement": movement, "Confidence": confidence})


def movement_counts(total: Tally) -> list[int]:
    """Returns the number of poses by how far they moved, in twentieths of a head; the last bin holds the rest."""
    width = BINS_PER_HEAD // 20
    counts = [0] * (_MOVEMENT_BINS + 1)
    for moved, count in total.moved.items():
        index = max(min(moved, LAST_BIN) - 1, 0) // width  # a bin includes its upper edge
        counts[min(index, _MOVEMENT_BINS)] += count
    return counts


def _worse_section(findings: Findings) -> list[Section]:
    """Returns the frames that got worse, if there is ground truth."""
    changes = findings.changes
    if changes is None:
        return []
    note = (
        f"Of {changes.better + changes.worse + changes.same:,} annotated frames {changes.better:,} gained, "
        f"{changes.worse:,} lost and {changes.same:,} are as good as before: right keypoints (within half a head of "
        "the truth) less wrong ones."
    )
    return [Section("Frames that got worse", [note], pictures=findings.worse)]


def _unchanged_section(total: Tally, tallies: Mapping[str, Tally]) -> Section:
    """Returns why poses were not refined, with examples."""
    rows = []
    for outcome, count in total.outcomes.most_common():
        if outcome is not Outcome.REFINED and count:
            examples = [(name, *one) for name, tally in tallies.items() for one in tally.examples.get(outcome, ())]
            shown = "; ".join(f"{name}, {_frame_name(index, image)}" for name, index, image in examples[:3])
            rows.append((outcome.value, f"{count:,}", shown or NOTHING))
    table = Table("", ("reason", "people", "such as"), rows, is_text=True)
    return Section("Not refined", _note_if_empty(rows, "pose was left unchanged"), tables=[table] if rows else [])


def _sequences_section(tallies: Mapping[str, Tally]) -> Section:
    head = ("sequence", "frames", "people", "refined", "unchanged", "kept", "dropped", "added", "moved")
    rows = []
    for name, tally in tallies.items():
        median = tally.as_json()["movement"]["median"]
        counts = (tally.frames, tally.people, tally.refined, tally.passed_through)
        cells = [f"{count:,}" for count in (*counts, tally.kept, tally.dropped, tally.added)]
        rows.append((name, *cells, NOTHING if median is None else f"{median:.2f}"))
    if not rows:
        return Section("Sequences", _note_if_empty(rows, "sequence is complete"))

    note = "Counts of people, then of keypoints; moved: head sizes in the median. report.json has all sequences."
    return Section("Sequences", [note], tables=[Table("", head, rows)])


def _note_if_empty(items: Sequence[Any], what: str) -> list[str]:
    return [] if items else [f"No {what}."]


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields the full name and the value of each setting."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
