"""Opens annotations with the metric that they are made for."""

from pathlib import Path

from hpr.errors import UserError
from hpr.formats import Format, get_format
from hpr.formats.coco import Coco
from hpr.metrics.pckh import PckhTruth
from hpr.metrics.posetrack import PoseTrackTruth
from hpr.metrics.truth import FilesByName, Truth


def open_truth(file_format: Format, annotations: str) -> Truth:
    """Opens the annotations of a run, to score predictions before and after refining.

    COCO's and CrowdPose's are scored by OKS, MPII's by PCKh, PoseTrack's by AP and MOTA.

    Args:
        file_format: Format of the predictions. PoseTrack's annotations are in the same, all others are recognised.
        annotations: A file or folder of ground truth.

    Raises:
        UserError: The annotations are absent, broken or of no known format.
    """
    truth_format, location = file_format, Path(annotations)
    if file_format.metric != "posetrack":
        truth_format = get_format("auto", annotations, location=annotations)

    if isinstance(truth_format, Coco):
        from hpr.metrics.oks import OksTruth  # pycocotools takes time to import

        paths = truth_format.sources(location)
        if len(paths) > 1:
            raise UserError(f"{annotations}: expected one file of annotations, found {len(paths)}; name one of them")
        return OksTruth(truth_format.ground_truth(paths[0]), truth_format, annotations)

    if truth_format.metric == "pckh":
        clips = [clip for path in truth_format.sources(location) for clip in truth_format.read_annotated(path)]
        return PckhTruth([frame for clip in clips for frame in clip.frames], annotations)
    return PoseTrackTruth(FilesByName(truth_format, location), annotations)
