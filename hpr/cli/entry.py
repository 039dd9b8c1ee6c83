"""Where programs begin: Ctrl-C ends them without a traceback also while they load libraries, which takes seconds."""

import os
import signal
from functools import partial
from importlib import import_module


def run(name: str) -> None:
    """Loads and runs the command that a module in this folder has."""
    # Not as an exception, which libraries catch while they are loaded. 130: as shells report a command so stopped.
    before = signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
    app, module = import_module("hpr.cli.app"), import_module(f"hpr.cli.{name}")
    signal.signal(signal.SIGINT, before)
    app.main(module.COMMAND)


benchmark = partial(run, "benchmark")
convert = partial(run, "convert")
evaluate = partial(run, "evaluate")
export = partial(run, "export")
fuzz = partial(run, "fuzz")
learn_errors = partial(run, "learn_errors")
make_sample = partial(run, "make_sample")
port = partial(run, "port")
refine = partial(run, "refine")
show_errors = partial(run, "show_errors")
train = partial(run, "train")
visualize = partial(run, "visualize")
