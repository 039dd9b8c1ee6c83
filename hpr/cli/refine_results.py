"""What `hpr refine` does with its results: score them, draw them, report them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hpr.cli.progress import warn
from hpr.cli.refine import Input, RefineSettings
from hpr.cli.visualize import draw, pair_sequences
from hpr.errors import UserError, counted
from hpr.files import write_json
from hpr.metrics.person_changes import PersonChange, annotated_changes, moved_most
from hpr.poses import PoseSequence
from hpr.refine.tally import Tally
from hpr.report.html import save_page
from hpr.report.people import NUM_PICTURES, person_pictures
from hpr.report.refine_report import Findings, fallen_scores, refine_page
from hpr.report.tables import comparison_table

_OWN_PREDICTIONS = """
This was the bundled sample: drawn people, and weights that have seen no others. To refine your own predictions, run
  hpr refine POSES IMAGES"""


def report_results(
    settings: RefineSettings, source: Input, tallies: Mapping[str, Tally], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Scores and draws the results unless the run was stopped; writes and returns the report.

    Args:
        settings: Settings of the run.
        source: What was refined.
        tallies: Counts of each sequence by its name.
        facts: What else the report says of the run.
    """
    output, total = Path(settings.output_dir), Tally()
    for tally in tallies.values():
        total.add(tally)
    report: dict[str, Any] = {
        **total.as_json(),
        "warnings": list(facts["doubts"]),
        "failed": total.failed,
        **facts,
    }

    findings = Findings()
    if not report["stopped"]:
        try:
            findings = _inspect_results(source, output / "predictions")
            if settings.visualize:
                refined = [
                    replace(file, sequences=source.file_format.read(output / "predictions" / file.output_name))
                    for file in source.files
                ]
                pairs = pair_sequences(source.files, refined)
                draw(pairs, source.images, output / "pictures", overwrite=True)
                report["pictures"].append("pictures")
        except KeyboardInterrupt:
            report["stopped"] = True

    num_moved = total.moved.total()
    is_better = findings.scores is not None and findings.scores[1].selection > findings.scores[0].selection
    if 2 * total.moved_far > num_moved and not is_better:  # farther than a refiner should move most poses
        far = f"{total.moved_far} of {num_moved} refined poses moved by more than half a head"
        cause = "either the estimates are rough, or the weights do not suit the images"
        report["warnings"].append(f"{far}: {cause}; look at the people in {report['page']}")
    if findings.scores is not None:
        before, after = findings.scores
        report["warnings"] += fallen_scores(findings)
        report["metrics"] = {"before": before.summary(), "after": after.summary(), "warnings": after.warnings}
    write_json(output / "report.json", report, indent=4)
    save_page(refine_page(report, total, tallies, findings), output / report["page"])
    return report


def _inspect_results(source: Input, results: Path) -> Findings:
    """Draws the people who moved most and, with ground truth, scores the results and draws who gained and lost most.

    The refined files in the folder `results` are read, not what is in memory.
    """
    outputs = {file.path.name: results / file.output_name for file in source.files}
    before = {file.path.name: file.sequences for file in source.files}

    @lru_cache(maxsize=1 if source.scored is None else None)
    def read_refined(name: str) -> Sequence[PoseSequence]:
        return source.file_format.read(outputs[name])

    findings = Findings()
    groups: dict[str, Sequence[PersonChange]] = {"moved": moved_most(before, read_refined, NUM_PICTURES)}
    if source.scored is not None:
        truth, old = source.scored
        new = truth.score({name: read_refined(name) for name in outputs})
        findings.scores = (old, new)
        print(f"\n{comparison_table(old, new)}")
        warn(*new.warnings)
        with suppress(UserError):  # scoring has reported what is wrong
            findings.changes = annotated_changes(truth, before, read_refined, NUM_PICTURES)
            groups |= {"best": findings.changes.best, "worst": findings.changes.worst}

    findings.pictures = person_pictures(groups, before, source.images)
    return findings


def print_summary(report: Mapping[str, Any]) -> None:
    """Prints the counts of a report, what was written, and what to do next."""
    people, keypoints, movement = report["persons"], report["joints"], report["movement"]
    reasons = "".join(f", {count}: {reason}" for reason, count in people["reasons"].items())
    print(f"\n{'people':<10} {people['refined']} of {people['seen']} refined{reasons}")
    ignored = f"; {keypoints['ignored']} of low score ignored" if keypoints["ignored"] else ""
    changed = f"{keypoints['kept']} kept, {keypoints['dropped']} dropped, {keypoints['added']} added"
    print(f"{'keypoints':<10} {changed}{ignored}")
    if movement["poses"]:
        far = f"{100 * movement['above_half_a_head']:.1f} % above half a head"
        print(f"{'moved':<10} {movement['median']:.2f} head sizes in the median, {movement['p95']:.2f} at 95 %, {far}")
    rate = f", {report['refined_now'] / report['seconds']:.2f} people per second" if report["refined_now"] else ""
    print(f"{'time':<10} {report['seconds']:.1f} s on {report['device']} in {report['precision']}{rate}")
    written = ", ".join(["predictions", "report.json", report["page"], *report["pictures"]])
    print(f"{'wrote':<10} {report['settings']['output_dir']}: {written}")

    warn(*(warning for warning in report["warnings"] if warning not in report["doubts"]))  # those said before the work
    if report["stopped"]:
        print(f"\nstopped: {counted(len(report['sequences']), 'sequence')} complete; the same command continues")
        return
    if report["failed"] or report["broken_files"]:
        skipped = counted(len(report["broken_files"]), "file")
        print(f"\nnot all was refined: {counted(report['failed'], 'pose')} failed, {skipped} skipped")
    elif not people["refined"]:
        why = reasons.removeprefix(", ") or "; ".join(report["doubts"]) or "no people"
        print(f"\nnobody was refined: {why}")
    if report["settings"]["dataset"]["name"] == "sample":
        print(_OWN_PREDICTIONS)
