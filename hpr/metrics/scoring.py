"""Opens annotations with the metric that they are made for."""

from pathlib import Path

from hpr.errors import UserError
from hpr.formats import Format, get_format, read_first, recognise_document
from hpr.formats.coco import Coco
from hpr.metrics.pckh import PckhTruth
from hpr.metrics.posetrack import PoseTrackTruth
from hpr.metrics.truth import FilesByName, Truth


def open_truth(file_format: Format, annotations: str) -> Truth:
    """Opens the annotations of a run, to score predictions before and after refining.

    COCO's and CrowdPose's are scored by OKS, PoseTrack's by AP and MOTA, MPII's and all others by PCKh.

    Args:
        file_format: Format of the predictions. PoseTrack's annotations are in the same, all others are recognised.
        annotations: A file or folder of ground truth.

    Raises:
        UserError: The annotations are absent, broken or of no known format.
    """
    # COCO's files are large: one that was recognised is not parsed once more.
    truth_format, location, document = file_format, Path(annotations), None
    is_known = isinstance(file_format, Coco) and file_format.annotations == annotations
    if file_format.metric != "posetrack" and not is_known:
        path, document = read_first(location)
        truth_format = get_format(recognise_document(path, document), annotations)

    if truth_format.metric == "posetrack":
        return PoseTrackTruth(FilesByName(truth_format, location), annotations)

    paths = truth_format.sources(location)
    if not isinstance(truth_format, Coco):
        clips = [clip for path in paths for clip in truth_format.read_annotated(path)]
        return PckhTruth([frame for clip in clips for frame in clip.frames], annotations)

    from hpr.metrics.oks import OksTruth  # pycocotools takes time to import

    if len(paths) > 1:
        raise UserError(f"{annotations}: expected one file of annotations, found {len(paths)}; name one of them")
    return OksTruth(truth_format.ground_truth(paths[0], document), truth_format, annotations)
