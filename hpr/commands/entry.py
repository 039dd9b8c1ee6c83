"""Where programs begin: Ctrl-C ends them without a traceback also while they load their libraries, which takes seconds."""

import sys
from functools import partial
from importlib import import_module


def run(name: str) -> None:
    """Loads and runs the command that a module in this folder has."""
    try:
        from hpr.commands import app

        app.main(import_module(f"hpr.commands.{name}").COMMAND)
    except KeyboardInterrupt:
        sys.exit(130)  # as shells report a command stopped by Ctrl-C


benchmark = partial(run, "benchmark")
evaluate = partial(run, "evaluate")
make_sample = partial(run, "make_sample")
port = partial(run, "port")
refine = partial(run, "refine")
show_errors = partial(run, "show_errors")
train = partial(run, "train")
