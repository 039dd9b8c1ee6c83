"""Human pose refinement: an image and an estimated pose in, a better pose out."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpr.refine.engine import PoseRefiner
    from hpr.refine.objective import Objective
    from hpr.refine.results import Outcome, RefinedPoses
    from hpr.report.drawing import draw_poses

# OpenCV decodes images of up to 200 megapixels; it reads this when it is loaded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "200000000")

__version__ = "0.1.0"
__all__ = ["Objective", "Outcome", "PoseRefiner", "RefinedPoses", "draw_poses"]

_MODULES = {
    "Objective": "hpr.refine.objective",
    "Outcome": "hpr.refine.results",
    "PoseRefiner": "hpr.refine.engine",
    "RefinedPoses": "hpr.refine.results",
    "draw_poses": "hpr.report.drawing",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: importing the package needs neither torch nor the time that it takes to load.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'hpr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
