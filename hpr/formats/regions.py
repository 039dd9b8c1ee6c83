"""Regions of images that records of COCO's form cover, as polygons."""

from contextlib import suppress
from typing import Any

import numpy as np

from hpr.formats import fields
from hpr.poses import FloatArray

_OUTLINE_TOLERANCE = 2.0
"""Pixels by which an outline's polygon may differ from the mask."""

_LARGEST_MASK = 2**28
"""Pixels; a broken file may ask for more than there is memory for."""


def ignore_polygons(record: dict[str, Any]) -> list[FloatArray]:
    """Returns the ignore region of a crowd or of a person without keypoints: polygons (n, 2) in image_xy.

    These are the outlines of the segmentation; the box where the segmentation is absent or cannot be read; nothing
    without a box.
    """
    segmentation = record.get("segmentation")
    polygons: list[FloatArray] = []
    with suppress(TypeError, ValueError, OverflowError):
        if isinstance(segmentation, list):
            polygons = [np.array(polygon, np.float64).reshape(-1, 2) for polygon in segmentation]
        elif isinstance(segmentation, dict):
            polygons = _mask_outlines(segmentation)
    if polygons and all(len(polygon) > 2 and np.isfinite(polygon).all() for polygon in polygons):
        return polygons

    (box,) = fields.box_corners(fields.boxes([record.get("bbox")]))
    x0, y0, x1, y1 = box.tolist()
    return [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])] if np.isfinite(box).all() else []


def _mask_outlines(segmentation: dict[str, Any]) -> list[FloatArray]:
    """Returns the outlines of a mask that is kept as lengths of runs of 0 and 1, down the columns.

    Raises:
        ValueError: The runs do not add up to the size; likewise TypeError and OverflowError.
    """
    import cv2  # reading poses needs no OpenCV

    height, width = segmentation.get("size", (0, 0))
    if not 0 < height * width <= _LARGEST_MASK:
        raise ValueError("no mask of an image")
    counts = np.asarray(segmentation.get("counts"), np.int64)
    if min(height, width) < 1 or counts.ndim != 1 or counts.min(initial=0) < 0 or counts.sum() != height * width:
        raise ValueError("runs of another size")

    runs = np.repeat(np.arange(len(counts), dtype=np.int64) % 2, counts).astype(np.uint8)
    mask = np.ascontiguousarray(runs.reshape(width, height).T)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [cv2.approxPolyDP(contour, _OUTLINE_TOLERANCE, closed=True)[:, 0] for contour in contours]
    return [np.asarray(polygon, np.float64) for polygon in polygons if len(polygon) > 2]
