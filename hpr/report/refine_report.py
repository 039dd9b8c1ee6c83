"""What report.html shows of a run of refine.py."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any, NamedTuple

from hpr.images import ImageSource
from hpr.metrics.comparison import Scores, SequenceChange, sequence_changes
from hpr.metrics.frame_changes import FrameChange, FrameChanges
from hpr.poses import Frame, PoseSequence
from hpr.refine.engine import Outcome
from hpr.refine.files import PoseFile
from hpr.refine.tally import BINS_PER_HEAD, CONFIDENCE_BINS, LAST_BIN, MovedFrame, Tally
from hpr.report.charts import bars_svg, histogram_svg
from hpr.report.drawing import draw_poses
from hpr.report.page import Chart, Fact, Page, Picture, Section, Table, panel, region
from hpr.report.tables import NOTHING, number

PICTURES = 6
"""Of the frames that changed most, and of those that got worse."""

_SEQUENCES = 8
"""That gained most, and that lost most."""

_TOTALS = ("Total", "Mean", "AP")
"""Columns that sum up the others, in order of preference."""


@dataclass
class Findings:
    """What was found out about a run from the files that it wrote.

    Attributes:
        scores: Before and after; None without annotations.
        changes: What refining did to the annotated frames.
        moved: Pictures of the frames that changed most.
        worse: Pictures of those that got worse.
    """

    scores: tuple[Scores, Scores] | None = None
    changes: FrameChanges | None = None
    moved: list[Picture] = field(default_factory=list)
    worse: list[Picture] = field(default_factory=list)


class _Wanted(NamedTuple):
    """A frame to be pictured.

    Attributes:
        rank: Its place among the pictures.
        sequence: Name of its sequence.
        moved: Which frame, and how far it moved.
    """

    rank: int
    sequence: str
    moved: MovedFrame


def moved_pictures(
    tallies: Mapping[str, Tally],
    files: Sequence[PoseFile],
    refined: Callable[[str], Sequence[PoseSequence]],
    images: ImageSource,
) -> list[Picture]:
    """Draws the frames that changed most.

    Args:
        tallies: What happened in each sequence, by name.
        files: What was refined.
        refined: Returns the refined file of a name.
        images: Where the pixels are.
    """
    every = ((name, moved) for name, tally in tallies.items() for moved in tally.moved_most)
    farthest = nlargest(PICTURES, every, key=lambda one: one[1].heads)
    wanted = [_Wanted(rank, *one) for rank, one in enumerate(farthest)]
    pictures = {}
    # In the order of their files and frames: a video is read once.
    for one, frames in _in_order_of_files(wanted, files, refined):
        title = f"{one.sequence}, {_frame_name(one.moved.frame, one.moved.image)}"
        caption = f"moved by {one.moved.heads:.2f} head sizes on average"
        pictures[one.rank] = _picture(title, caption, frames, images)
    return [pictures[rank] for rank in sorted(pictures)]


def _in_order_of_files(
    wanted: Sequence[_Wanted], files: Sequence[PoseFile], refined: Callable[[str], Sequence[PoseSequence]]
) -> Iterator[tuple[_Wanted, tuple[Frame, Frame]]]:
    """Yields wanted frames before and after refining."""
    for file in files:
        names = [sequence.name for sequence in file.sequences]
        own = [one for one in wanted if one.sequence in names]
        for one in sorted(own, key=lambda one: (names.index(one.sequence), one.moved.frame)):
            place, number = names.index(one.sequence), one.moved.frame
            before = file.sequences[place].frames[number : number + 1]
            if before and before[0].image == one.moved.image:  # not another sequence of the same name
                yield one, (before[0], refined(file.path.name)[place].frames[number])


def worse_pictures(changes: FrameChanges, images: ImageSource) -> list[Picture]:
    """Draws the annotated frames that lost most, with their truth."""
    pictures = []
    for change in changes.worst:
        title = f"{change.sequence}, {_frame_name(change.frame, change.poses[0].image)}"
        pictures.append(_picture(title, _lost(change), change.poses, images, change.truth))
    return pictures


def _lost(change: FrameChange) -> str:
    before, after = change.before, change.after
    return f"right keypoints {before.right} → {after.right}, wrong ones {before.wrong} → {after.wrong}"


def _frame_name(place: int, image: str) -> str:
    return f"frame {place}" + (f": {image}" if image else "")


def _picture(
    title: str, caption: str, frames: tuple[Frame, Frame], images: ImageSource, truth: Frame | None = None
) -> Picture:
    """Draws a frame before and after refining. What goes wrong stands in its place: the report is worth more."""
    try:
        part, corner, scale = region(images.read(frames[0]), [frame.poses for frame in frames])
        labelled = dict(zip(("input", "refined"), frames, strict=True)) | ({"truth": truth} if truth else {})
        panels = []
        for label, frame in labelled.items():
            panels.append(panel(label, draw_poses(part, (frame.poses - corner) * scale, frame.skeleton)))
        return Picture(title, caption, panels)
    except Exception as error:
        return Picture(title, caption, problem=str(error) or type(error).__name__)


def refine_page(report: Mapping[str, Any], total: Tally, tallies: Mapping[str, Tally], findings: Findings) -> Page:
    """Returns the page of a run.

    Args:
        report: The content of report.json.
        total: What happened in all sequences.
        tallies: What happened in each sequence, by name.
        findings: What else is known.
    """
    settings = Table("", ("setting", "value"), list(_flat(report["settings"])), is_text=True)
    sections = [
        _scores_section(findings),
        *_sequence_sections(findings),
        _distributions(total),
        Section("Frames that changed most", _nothing(findings.moved, "frame was drawn"), pictures=findings.moved),
        *_worse_sections(findings),
        _passed_through(total, tallies),
        _all_sequences(tallies),
        Section("Settings", tables=[settings], is_folded=True),
    ]
    dataset = report["settings"]["dataset"]
    subtitle = f"{dataset['predictions']} ({report['format']}), objective {report['settings']['objective']['name']}"
    return Page("Refined poses", subtitle, _facts(report, findings), _warnings(report, findings), sections)


def _facts(report: Mapping[str, Any], findings: Findings) -> list[Fact]:
    persons, joints, movement = report["persons"], report["joints"], report["movement"]
    passed = f"{persons['passed_through']:,} passed through" if persons["passed_through"] else ""
    facts = [Fact(f"{persons['refined']:,} of {persons['seen']:,}", "persons refined", passed)]
    facts += _score_facts(findings)
    if movement["poses"]:
        note = f"95 % within {movement['p95']:.2f}"
        facts.append(Fact(f"{movement['median']:.2f} heads", "moved, in the median", note))
    changed = f"{joints['dropped']:,} dropped, {joints['added']:,} added"
    facts.append(Fact(f"{joints['kept']:,}", "keypoints kept", changed))
    facts.append(Fact(f"{report['frames']:,}", "frames", f"in {len(report['sequences']):,} sequences"))
    speed = persons["seen"] / report["seconds"] if report["seconds"] else 0.0
    where = f"{speed:.1f} persons per second on {report['device']} in {report['precision']}"
    return [*facts, Fact(f"{report['seconds']:,.1f} s", "time", where)]


def _score_facts(findings: Findings) -> list[Fact]:
    facts = []
    for name, first, second in _totals(findings):
        facts.append(Fact(f"{number(first)} → {number(second)}", name, number(second - first, sign=True)))
    return facts


def _totals(findings: Findings) -> Iterator[tuple[str, float, float]]:
    """Yields the name of each metric's total, and its value before and after, where it has one."""
    if findings.scores is None:
        return
    before, after = findings.scores
    column = next(name for name in (*_TOTALS, *before.columns) if name in before.columns)
    for metric in before.values:
        first, second = before.values[metric][column], after.values[metric][column]
        if not math.isnan(first - second):
            yield f"{metric}, {column.lower() if column.istitle() else column}", first, second


def _warnings(report: Mapping[str, Any], findings: Findings) -> list[str]:
    """Returns what a user should look into."""
    warnings = [f"not all sequences were refined: {failure}" for failure in report["failures"]]
    if report["stopped"]:
        warnings.append("the run was stopped before its end; the same command goes on")
    if report["failed"]:
        warnings.append(f"{report['failed']} poses should have been refined and were not; see below")
    warnings += [f"{problem}; this file was skipped" for problem in report["broken_files"]]
    warnings += report["warnings"]
    return [*warnings, *(findings.scores[1].warnings if findings.scores else [])]


def _scores_section(findings: Findings) -> Section:
    title = "Scores before and after"
    if findings.scores is None:
        return Section(title, ["Nothing was scored: no annotations were given, or the run did not come to its end."])
    before, after = findings.scores
    charts, tables = [], []
    for metric, row in before.values.items():
        both = {"input": list(row.values()), "refined": list(after.values[metric].values())}
        if not all(math.isnan(value) for values in both.values() for value in values):
            charts.append(Chart(metric, bars_svg(before.columns, both, "%")))
            tables.append(_score_table(metric, row, after.values[metric]))
    return Section(title, charts=charts, tables=tables)


def _score_table(metric: str, before: Mapping[str, float], after: Mapping[str, float]) -> Table:
    rows = []
    for column, value in before.items():
        difference = number(after[column] - value, sign=True)
        rows.append((column, number(value), number(after[column]), difference))
    return Table(f"{metric} (%)", ("", "input", "refined", "difference"), rows)


def _sequence_sections(findings: Findings) -> list[Section]:
    """Returns which sequences gained and lost, if they are scored one by one."""
    changes = sequence_changes(*findings.scores) if findings.scores else []
    if not changes:
        return []
    gained, lost = ([change for change in changes if sign * change.gain > 0] for sign in (1, -1))
    note = f"{len(gained)} of {len(changes)} sequences gained, {len(lost)} lost (mean difference of the scores)."
    tables = [("gained most", gained[:_SEQUENCES]), ("lost most", lost[: -_SEQUENCES - 1 : -1])]
    shown = [_changes_table(title, own) for title, own in tables if own]
    return [Section("Sequences that gained and lost", [note], tables=shown)]


def _changes_table(title: str, changes: Sequence[SequenceChange]) -> Table:
    head, rows = ["sequence"], []
    for metric in changes[0].scores:
        head += [f"{metric} (%)", "difference"]
    for change in changes:
        row = [change.name]
        for before, after in change.scores.values():
            row += [f"{number(before)} → {number(after)}", number(after - before, sign=True)]
        rows.append(row)
    return Table(title, head, rows)


def _distributions(total: Tally) -> Section:
    """Returns the histograms of movement and of confidence."""
    title = "How far poses moved, and how sure the network is"
    if not total.moved:
        return Section(title, ["No pose was refined."])
    tenths = _movement_counts(total)
    edges = [f"{place / 20:g}" for place in range(len(tenths))] + ["more"]
    moved = histogram_svg(tenths, edges, "poses", "head sizes that a pose's keypoints moved on average")
    counts = [total.confidences[place] for place in range(CONFIDENCE_BINS)]
    edges = [f"{place / CONFIDENCE_BINS:g}" for place in range(CONFIDENCE_BINS + 1)]
    sure = histogram_svg(counts, edges, "keypoints", "the network's confidence")
    note = "All keypoints that the network proposes for refined poses count, also those that are not kept."
    return Section(title, [note], [Chart("Movement", moved), Chart("Confidence", sure)])


_MOVEMENT_BINS = 20
"""Of a twentieth of a head each; one more takes the rest."""


def _movement_counts(total: Tally) -> list[int]:
    """Returns the number of poses by how far they moved, in twentieths of a head."""
    width = BINS_PER_HEAD // 20
    counts = [0] * (_MOVEMENT_BINS + 1)
    for moved, count in total.moved.items():
        place = max(min(moved, LAST_BIN) - 1, 0) // width  # the bins are closed above
        counts[min(place, _MOVEMENT_BINS)] += count
    return counts


def _worse_sections(findings: Findings) -> list[Section]:
    """Returns what got worse, if the truth is known."""
    changes = findings.changes
    if changes is None:
        return []
    note = (
        f"Of {changes.better + changes.worse + changes.same:,} annotated frames {changes.better:,} gained, "
        f"{changes.worse:,} lost and {changes.same:,} are as good as before: right keypoints (within half a head of "
        "the truth) less wrong ones."
    )
    return [Section("Frames that got worse", [note], pictures=findings.worse)]


def _passed_through(total: Tally, tallies: Mapping[str, Tally]) -> Section:
    """Returns why poses stayed as they were, and where."""
    rows = []
    for outcome, count in total.outcomes.most_common():
        if outcome is not Outcome.REFINED and count:
            rows.append((outcome.value, f"{count:,}", _examples(outcome, tallies)))
    table = Table("", ("reason", "persons", "such as"), rows, is_text=True)
    return Section("Passed through", _nothing(rows, "pose was passed through"), tables=[table] if rows else [])


def _examples(outcome: Outcome, tallies: Mapping[str, Tally]) -> str:
    """Returns where the first poses with an outcome are."""
    places = [(name, place) for name, tally in tallies.items() for place in tally.examples.get(outcome, ())]
    shown = [f"{name}, {_frame_name(*place)}" for name, place in places[:3]]
    return "; ".join(shown) or NOTHING


def _all_sequences(tallies: Mapping[str, Tally]) -> Section:
    head = ("sequence", "frames", "persons", "refined", "as were", "kept", "dropped", "added", "moved")
    rows = []
    for name, tally in tallies.items():
        median = tally.as_json()["movement"]["median"]
        counts = (tally.frames, tally.people, tally.refined, tally.passed_through)
        cells = [f"{count:,}" for count in (*counts, tally.kept, tally.dropped, tally.added)]
        rows.append((name, *cells, NOTHING if median is None else f"{median:.2f}"))
    if not rows:
        return Section("Sequences", _nothing(rows, "sequence is complete"))
    note = "Persons, then keypoints; moved: head sizes in the median. report.json has all sequences."
    return Section("Sequences", [note], tables=[Table("", head, rows)])


def _nothing(items: Sequence[Any], what: str) -> list[str]:
    return [] if items else [f"No {what}."]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields the full name and the value of each setting."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
