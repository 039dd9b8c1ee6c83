"""Weight files with their provenance, and how weights of other programs become ours. Free of torch."""

from hpr.weights.files import Provenance, Tensors, load, save

__all__ = ["Provenance", "Tensors", "load", "save"]
