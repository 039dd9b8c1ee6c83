"""Validation on clips of drawn people."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpr.crops import ScaleRule
from hpr.formats import PoseTrack18
from hpr.images import ImageFolder
from hpr.pose_errors.draw import PoseErrors
from hpr.runtime.processes import ALONE, Processes
from hpr.seeds import Purpose
from hpr.settings import Count, checked
from hpr.synthetic.tree import write_tree
from hpr.training.validation import Validation, annotated_validation


@checked
def synthetic_validation(
    clips: Count,
    frames: Count,
    folder: Path,
    errors: PoseErrors,
    progress: Callable[[int], Any] = lambda clips: None,
    scale: ScaleRule = "published",
    processes: Processes = ALONE,
) -> Validation:
    """Draws clips of people in clothes that training never draws, and prepares the validation on them.

    Args:
        clips: Number of clips.
        frames: Number of frames in each clip.
        folder: The run's folder; the clips are written to its folder `validation`.
        errors: Mistakes in the estimates.
        progress: Called with the number of clips done.
        scale: How a person's size is measured.
        processes: The ranks; rank 0 draws.

    Raises:
        UserError: The folder cannot be written to.
    """
    root = folder / "validation"
    if processes.is_first:
        seeds = [(number,) for number in range(clips)]
        purpose = Purpose.VALIDATION_SCENE
        write_tree(root, seeds, frames, errors, held_out=True, progress=progress, purpose=purpose)
    processes.wait()

    annotations, predictions, images = root / "annotations", root / "predictions", ImageFolder(root)
    return annotated_validation(
        PoseTrack18(), annotations, predictions, images, folder, errors, scale=scale, processes=processes
    )
