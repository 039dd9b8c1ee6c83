"""The program `hpr COMMAND NAME=VALUE …`, which loads no more than the command needs."""

import difflib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

import hpr

COMMANDS = {
    "refine": "refine estimated poses, score them before and after, and write a report",
    "train": "train a refiner",
    "evaluate": "score predictions against annotations",
    "convert": "convert poses from any format to any other",
    "port": "turn a TensorFlow checkpoint, such as the published weights, into a safetensors file",
    "visualize": "draw poses before and after refining, as pictures or as a clip",
    "export": "write a network as an ONNX file",
    "learn-errors": "measure the mistakes of a pose estimator, to train a refiner on them",
    "make-sample": "draw clips of people with poses and mistakes, as a PoseTrack 2018 data set",
}
"""What each command does. Its module in hpr.cli and its file in conf/ have its name, with _ for -."""

SHORT = {
    "poses": "dataset.predictions",
    **{name: f"dataset.{name}" for name in ("images", "annotations", "skeleton", "orientation", "outside", "root")},
}
"""Short names of settings of a data set, in commands that have one: `poses=FILE images=FOLDER`."""


def short_name(name: str) -> str:
    """Returns the short name of a setting of a data set, else the name."""
    return next((short for short, full in SHORT.items() if full == name), name)


WORDS = {
    "refine": ("poses", "images"),
    "evaluate": ("poses", "annotations"),
    "learn-errors": ("poses", "annotations"),
    "visualize": ("poses", "images"),
    "convert": ("poses", "output"),
}
"""Settings that the words without a name set, in this order."""


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and ends the program with its exit status.

    Args:
        words: Name of the command and its settings; by default those of the command line.
    """
    name, *settings = (sys.argv[1:] if words is None else words) or ["--help"]
    exit_with(lambda: _run(name, settings))


def exit_with(run: Callable[[], int]) -> NoReturn:
    """Ends the program with the status that `run` returns, or with 0 if the reader of its output has ended."""
    try:
        status = run()
        sys.stdout.flush()
    except BrokenPipeError:  # such a reader is head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)


def _run(name: str, settings: Sequence[str]) -> int:
    """Runs a command, or prints what an option asks for; returns the exit status."""
    if name in COMMANDS:
        module_name = name.replace("-", "_")
        if {"-h", "--help"} & set(settings):
            from hpr.cli.help import command_help

            print(command_help(module_name))
            return 0

        # While libraries are loaded, Ctrl-C must not be an exception: some of them catch it and go on.
        previous = signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
        app, module = import_module("hpr.cli.app"), import_module(f"hpr.cli.{module_name}")
        signal.signal(signal.SIGINT, previous)
        return int(app.main(module.COMMAND, settings))

    if name == "--version":
        print(f"hpr {hpr.__version__}")
        return 0
    if name in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print("hpr COMMAND NAME=VALUE … refines human poses. hpr COMMAND --help lists a command's settings.")
        print("hpr refine POSES IMAGES is all that most people need. hpr --version prints the version.\n")
        print("\n".join(f"  {command:<{width}}  {summary}" for command, summary in COMMANDS.items()))
        return 0
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(COMMANDS)}"
    print(f"error: there is no command '{name}'; {hint}", file=sys.stderr)
    return 1
