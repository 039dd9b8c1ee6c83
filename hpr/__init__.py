"""Human pose refinement: an image and an estimated pose in, a better pose out."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpr.refine.engine import PoseRefiner
    from hpr.refine.results import RefinedPoses

# OpenCV decodes images of up to 200 megapixels; it reads this when it is loaded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "200000000")

__version__ = "0.1.0"
__all__ = ["PoseRefiner", "RefinedPoses"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: importing the package needs neither torch nor the time that it takes to load.
    if name in __all__:
        from hpr.refine import engine

        return getattr(engine, name)
    raise AttributeError(f"module 'hpr' has no attribute {name!r}")
