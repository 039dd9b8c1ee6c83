"""Draw the mistakes that training makes in true poses: python tools/show_errors.py."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from hpr import cli
from hpr.drawing import save_jpeg
from hpr.training.gallery import mistakes_picture


def main(cfg: DictConfig) -> None:
    """Draws and writes the picture."""
    save_jpeg(mistakes_picture(hydra.utils.instantiate(cfg.pose_errors), cfg.seed), Path(cfg.output))
    print(f"wrote {cfg.output}")


if __name__ == "__main__":
    cli.run(main, "show_errors")
