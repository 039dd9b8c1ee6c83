"""Human pose refinement: an image and an estimated pose in, a better pose out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpr.inference import PoseRefiner, RefinedPoses

__version__ = "0.1.0"
__all__ = ["PoseRefiner", "RefinedPoses"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: the porting tool imports this package where torch need not be installed.
    if name in __all__:
        from hpr import inference

        return getattr(inference, name)
    raise AttributeError(f"module 'hpr' has no attribute {name!r}")
