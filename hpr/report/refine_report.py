"""The page report.html of a run of `hpr refine`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath
from typing import Any

import numpy as np

import hpr
from hpr.errors import counted
from hpr.metrics.frames import MATCH_DISTANCE
from hpr.metrics.person_changes import AnnotatedChanges
from hpr.metrics.scores import Scores, sequence_changes
from hpr.refine.results import Outcome
from hpr.refine.tally import BINS_PER_HEAD, CONFIDENCE_BINS, LAST_BIN, Tally
from hpr.report.charts import bars_svg, histogram_svg
from hpr.report.drawing import SIDE_COLOURS
from hpr.report.html import Fact, Page, Picture, Section, Table
from hpr.report.people import frame_name
from hpr.report.tables import NOTHING, number

_NUM_SEQUENCES = 8
"""Number of sequences listed that gained most, and that lost most."""

_MOVEMENT_BINS = 20
"""Bins of a twentieth of a head each; one more holds the rest."""


@dataclass
class Findings:
    """What a run's own files show, besides its counts.

    Attributes:
        scores: Scores before and after; None without annotations.
        changes: What refining did to annotated people; None without annotations.
        pictures: "best", "worst" and "moved" → pictures of the people who gained most, lost most and moved most.
    """

    scores: tuple[Scores, Scores] | None = None
    changes: AnnotatedChanges | None = None
    pictures: Mapping[str, Sequence[Picture]] = field(default_factory=dict)


def refine_page(report: Mapping[str, Any], total: Tally, tallies: Mapping[str, Tally], findings: Findings) -> Page:
    """Returns the page of a run.

    Args:
        report: Content of report.json.
        total: Counts of all sequences together.
        tallies: Sequence name → its counts.
        findings: Scores and pictures.
    """
    moved = findings.pictures.get("moved", ())
    settings = Table("", ("setting", "value"), list(_flatten(report["settings"])), is_text=True)
    sections = [
        _scores_section(findings),
        *_sequence_changes_section(findings),
        *_people_sections(findings),
        _pictures_section("People who moved most", _note_if_empty(moved, "person moved"), moved),
        _distributions_section(total),
        _unchanged_section(total, tallies),
        _sequences_section(tallies),
        Section("Settings", tables=[settings], is_folded=True),
    ]

    warnings = ["the run was stopped before its end; the same command continues it"] if report["stopped"] else []
    if report["failed"]:
        warnings.append(f"{counted(report['failed'], 'pose')} could not be refined; see below")
    warnings += [f"{problem}; this file was skipped" for problem in report["broken_files"]]
    warnings += [*report["warnings"], *(findings.scores[1].warnings if findings.scores else [])]
    return Page("Refined poses", _header(report), _facts(report, findings), warnings, sections)


def _header(report: Mapping[str, Any]) -> str:
    """Returns what was refined by what, when and with which version."""
    model, objective = report["settings"]["model"], report["settings"]["objective"]["name"]
    network = "" if model["architecture"] == "auto" else f"model {model['architecture']}, "
    return " · ".join(
        [
            f"{report['settings']['dataset']['predictions']} ({report['format']})",
            f"{network}weights {PurePath(str(model['weights'])).name}",
            f"objective {objective}",
            f"{datetime.now():%d %B %Y, %H:%M}",
            f"hpr {hpr.__version__}",
        ]
    )


def _totals(findings: Findings) -> Iterator[tuple[str, float, float]]:
    """Yields the name of each metric's total, and its values before and after where it has both."""
    if findings.scores is None:
        return
    old, new = findings.scores
    column = old.total_column.lower() if old.total_column.istitle() else old.total_column
    for metric, value in old.totals.items():
        if not math.isnan(new.totals[metric] - value):
            yield f"{metric}, {column}", value, new.totals[metric]


def fallen_scores(findings: Findings) -> list[str]:
    """Returns a warning for each score that fell."""
    look = "; look at the people who lost most" if findings.pictures.get("worst") else ""
    return [
        f"{metric} fell from {number(old)} to {number(new)}: by it, the input was better{look}"
        for metric, old, new in _totals(findings)
        if new < old
    ]


def _facts(report: Mapping[str, Any], findings: Findings) -> list[Fact]:
    people, keypoints, movement = report["persons"], report["joints"], report["movement"]
    unchanged = f"{people['passed_through']:,} unchanged" if people["passed_through"] else ""
    facts = [Fact(f"{people['refined']:,} of {people['seen']:,}", "people refined", unchanged)]
    for metric, old, new in _totals(findings):
        shown = f"{number(old)} → {number(new)}"
        facts.append(Fact(shown, metric, number(new - old, sign=True), is_bad=new < old))

    if movement["poses"]:
        note = f"95 % within {movement['p95']:.2f}"
        facts.append(Fact(f"{movement['median']:.2f} heads", "moved, in the median", note))
    changed = f"{keypoints['dropped']:,} dropped, {keypoints['added']:,} added"
    if keypoints["ignored"]:
        changed += f", {keypoints['ignored']:,} of the input ignored for their low scores"
    facts.append(Fact(f"{keypoints['kept']:,}", "keypoints kept", changed))
    frames = "frame" if report["frames"] == 1 else "frames"
    facts.append(Fact(f"{report['frames']:,}", frames, f"in {counted(len(report['sequences']), 'sequence')}"))

    rate = report["refined_now"] / report["seconds"] if report["seconds"] else 0.0
    speed = f"{rate:.1f} people per second" if rate else ""
    where = f"{speed} on {report['device']} in {report['precision']}".strip()
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
    num_gained = f"{len(gained)} of {counted(len(changes), 'sequence')}"
    note = f"{num_gained} gained, {len(lost)} lost (mean difference of the scores)."
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

    note = (
        "The network's keypoints of all refined poses count, including those that were not kept, without those that "
        "the file has no room for."
    )
    return Section(title, [note], {"Movement": movement, "Confidence": confidence})


def movement_counts(total: Tally) -> list[int]:
    """Returns the number of poses by how far they moved, in twentieths of a head; the last bin holds the rest."""
    width = BINS_PER_HEAD // 20
    counts = [0] * (_MOVEMENT_BINS + 1)
    for moved, count in total.moved.items():
        index = max(min(moved, LAST_BIN) - 1, 0) // width  # a bin includes its upper edge
        counts[min(index, _MOVEMENT_BINS)] += count
    return counts


def _people_sections(findings: Findings) -> list[Section]:
    """Returns the errors by keypoint and the people who gained and lost most, if there is ground truth."""
    changes = findings.changes
    if changes is None or not (count := changes.better + changes.worse + changes.same):
        return []

    head = ("keypoint", "annotated", "input: right (%)", "refined: right (%)", "difference")
    rows, medians = [], dict[str, tuple[float, float]]()
    for name, errors in changes.errors.items():
        old, new = (100 * float((own <= MATCH_DISTANCE).mean()) for own in errors)  # False for NaN
        cells = (number(old), number(new), number(new - old, sign=True))
        rows.append((name.replace("_", " "), f"{len(errors.before):,}", *cells))
        old, new = (100 * float(np.nanmedian(own)) if np.isfinite(own).any() else math.nan for own in errors)
        medians[name.replace("_", " ")] = old, new
    series = {"input": [old for old, _ in medians.values()], "refined": [new for _, new in medians.values()]}
    people = counted(count, "annotated person", "annotated people")
    note = f"A keypoint is right within half a head of the truth. Those of {people} with an estimate count."
    chart = bars_svg(list(medians), series, "% of a head size")
    errors_section = Section(
        "Errors by keypoint", [note], {"Distance from the truth, in the median": chart}, [Table("", head, rows)]
    )

    counts = (
        f"Of {people} {changes.better:,} gained, {changes.worse:,} lost and {changes.same:,} stayed the same, by right "
        "keypoints less wrong ones."
    )
    titles = {"best": "People who gained most", "worst": "People who lost most"}
    shown = {title: findings.pictures.get(name, ()) for name, title in titles.items()}
    return [errors_section, *(_pictures_section(title, [counts], own) for title, own in shown.items() if own)]


def _pictures_section(title: str, notes: Sequence[str], pictures: Sequence[Picture]) -> Section:
    """Returns a section of pictures with a legend of their colours."""
    drawn = {
        "right": "right",
        "left": "left",
        "middle": "middle of the body",
        "moved": "from where a keypoint moved (pale lines: low scores)",
    }
    legend = {drawn[name]: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in SIDE_COLOURS.items()}
    return Section(title, notes, pictures=pictures, legend=legend if pictures else {})


def _unchanged_section(total: Tally, tallies: Mapping[str, Tally]) -> Section:
    """Returns why poses were not refined, with examples."""
    rows = []
    for outcome, count in total.outcomes.most_common():
        if outcome is not Outcome.REFINED and count:
            examples = [(name, *one) for name, tally in tallies.items() for one in tally.examples.get(outcome, ())]
            shown = "; ".join(f"{name}, {frame_name(index, image)}" for name, index, image in examples[:3])
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
