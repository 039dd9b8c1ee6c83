"""Backbones, one module each; each module registers its architectures when it is imported."""
