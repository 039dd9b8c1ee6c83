"""Which scores poses get: those that their annotations are made for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpr.metrics.comparison import Compared, Comparison
from hpr.metrics.oks import OksComparison
from hpr.metrics.pckh import PckhComparison
from hpr.metrics.posetrack import FilesByName, NamedSequences
from hpr.formats import Format, get_format
from hpr.formats.coco import Coco


def compared(
    file_format: Format,
    annotations: str,
    predicted: NamedSequences,
    predictions: str,
    progress: Callable[[int], Any] = lambda files: None,
) -> Compared:
    """Scores predictions as they are, to compare them with refined ones.

    Args:
        file_format: Of the predictions; PoseTrack's annotations have to be in the same.
        annotations: Where the ground truth is. Files of COCO and CrowdPose are scored by OKS, of MPII by PCKh.
        predicted: Files of predictions.
        predictions: What messages call these.
        progress: Called with the number of files done.

    Raises:
        UserError: The annotations are absent, broken or not those of the predictions.
    """
    truth_format = format_of_truth(file_format, annotations)
    if isinstance(truth_format, Coco):
        return OksComparison(Path(annotations), predicted, truth_format)
    truth = FilesByName(truth_format, Path(annotations))
    if truth_format.metric == "pckh":
        return PckhComparison(truth, predicted, (annotations, predictions), progress)
    return Comparison(truth, predicted, (annotations, predictions), progress)


def format_of_truth(file_format: Format, annotations: str) -> Format:
    """Returns the format of annotations for predictions in a format: PoseTrack's are in the same, others recognised.

    Raises:
        UserError: The annotations are absent or of no known format.
    """
    if file_format.metric == "posetrack":
        return file_format
    return get_format("auto", annotations, location=annotations)
