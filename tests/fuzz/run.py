"""Throw wild input at the project: hpr-fuzz, python tools/fuzz.py what=files|settings|images [tries=1000]."""

import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hpr.settings import Count, WholeNumber
from hpr.cli import (
    app,
    benchmark,
    convert,
    evaluate,
    export,
    learn_errors,
    make_sample,
    port,
    refine,
    show_errors,
    train,
    visualize,
)
from hpr.cli.progress import progress_bar, say
from hpr.cli.settings import Section
from hpr.files import write_json
from hpr.formats import PoseTrack18
from fuzz.files import FileTrials
from fuzz.images import ImageTrials
from fuzz.settings import Program, SettingTrials
from fuzz.trials import Outcome, Result, Summary, Trials, run_trials
from hpr.report.tables import format_table

_SHOWN_LINES = 12
"""Of a new defect's traceback; all of it is in the folder."""


class FuzzSettings(Section):
    """conf/fuzz.yaml."""

    what: Literal["files", "settings", "images"]
    seed: WholeNumber
    start: WholeNumber
    tries: Count
    output_dir: str


def fuzz(settings: FuzzSettings) -> Summary:
    """Tries, prints each new defect and a table of what became of all tries, and writes the finds."""
    summary, output = Summary(), Path(settings.output_dir)
    numbers = range(settings.start, settings.start + settings.tries)
    with tempfile.TemporaryDirectory() as folder, progress_bar("tries", len(numbers), doing=settings.what) as progress:
        trials = _trials(settings, Path(folder))
        with suppress(KeyboardInterrupt):  # what was found up to then is shown
            for number, result in run_trials(trials, numbers):
                if summary.add(number, result):
                    _keep(trials, number, result, output / f"{settings.what}_{settings.seed}_{number}")
                progress(1)
    write_json(output / f"{settings.what}.json", {"settings": settings.model_dump(), **summary.as_json()}, indent=4)
    print(_table(summary))
    print(f"\nwrote {output}: {settings.what}.json{', the first input of each defect' if summary.defects else ''}")
    return summary


def _trials(settings: FuzzSettings, folder: Path) -> Trials:
    """Returns the tries that the settings ask for; for those that need some, with files in a folder."""
    if settings.what == "files":
        return FileTrials(settings.seed)
    if settings.what == "images":
        return ImageTrials(settings.seed)
    return SettingTrials(settings.seed, _programs(folder))


def _keep(trials: Trials, number: int, result: Result, folder: Path) -> None:
    """Writes a find: the input, and what became of it."""
    lines = result.detail.strip().splitlines()
    shown = "\n".join(f"  {line[:200]}" for line in lines[-_SHOWN_LINES:])
    say(f"defect: try {number} ({result.subject}), see {folder}\n{shown}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "traceback.txt").write_text(f"{result.detail}\n")
    with suppress(Exception):  # what was made may be what is wrong
        (folder / "input").mkdir()
        trials.make(number, folder / "input")


def _table(summary: Summary) -> str:
    rows = [["", "tries", *(f"{'in one line ' if own is Outcome.REFUSED else ''}{own.value}" for own in Outcome)]]
    for name, subject in [*((subject, subject) for subject in summary.subjects), ("all", None)]:
        counts = [summary.count(own, subject) for own in Outcome]
        rows.append([name, *(f"{count}" for count in (sum(counts), *counts))])
    return format_table(rows)


def _programs(folder: Path) -> dict[str, Program]:
    """Returns the commands, with short runs of them on two frames of the bundled sample."""
    sample = app.ASSETS / "sample"
    clip = sorted((sample / "predictions").glob("*.json"))[0].name
    for kind in ("predictions", "annotations"):
        (whole,) = PoseTrack18().read(sample / kind / clip)
        frames = [frame.select(np.arange(len(frame)) < 1) for frame in whole.frames[:2]]
        PoseTrack18().write([replace(whole, frames=frames, original=None)], folder / kind / clip)
    predictions = f"dataset.predictions={folder}/predictions"
    annotations = f"dataset.annotations={folder}/annotations"
    own = ["dataset=posetrack18", f"dataset.root={sample}"]
    once = ["canvas=[64,64]", "training.steps=1", "training.batch_size=1", "training.workers=0", "device=cpu"]
    drawn = ["dataset.validation.clips=1", "dataset.validation.frames=1"]
    annotated = [f"dataset.{part}.annotations={folder}/annotations" for part in ("training", "validation")]
    sizes = ["evaluation.sequences=1", "evaluation.frames=2", "refining.crops=[[510,560]]", "refining.people=[1]"]
    sizes += ["refining.rounds=1", "training.steps=2", "training.canvas=[64,64]", "training.batch_size=1"]
    measured = ["model=demo", "device=cpu", *sizes, "training.workers=0"]
    bases: dict[app.Command[Any], list[list[str]]] = {
        benchmark.COMMAND: [["what=training", *measured], ["what=evaluation", *measured]],
        convert.COMMAND: [[f"input={folder}/predictions", "format=npz", "output=converted"]],
        evaluate.COMMAND: [[predictions, annotations]],
        export.COMMAND: [["model=demo", "size=[64,64]"]],
        learn_errors.COMMAND: [[predictions, annotations]],
        make_sample.COMMAND: [["output_dir=drawn", "clips=1", "frames=1", "width=64", "height=64"]],
        port.COMMAND: [[], ["checkpoint=text.txt"]],
        refine.COMMAND: [[*own, "model=demo", "flip=false", "device=cpu", predictions, part] for part in own],
        show_errors.COMMAND: [[]],
        train.COMMAND: [[*once, *drawn], [*once, *own, *annotated]],
        visualize.COMMAND: [[f"input={folder}/predictions", f"images={sample}"]],
    }
    bases[refine.COMMAND][0].append(annotations)
    programs = {}
    for command, words in bases.items():
        names, elsewhere = app.all_names(command)
        run = partial(app.with_arguments, command)
        programs[command.config] = Program(names, elsewhere, words, run)
    return programs


COMMAND = app.Command("fuzz", FuzzSettings, fuzz, lambda summary: 1 if summary.defects else 0)
