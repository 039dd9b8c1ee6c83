"""Draw clips of synthetic people as a PoseTrack 2018 tree: python tools/make_sample.py output_dir=DIR."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from hpr import cli
from hpr.training.synthetic.tree import write_tree


def main(cfg: DictConfig) -> None:
    """Draws the clips and says how to refine them."""
    folder = Path(cfg.output_dir)
    size = None if cfg.width is None or cfg.height is None else (cfg.width, cfg.height)
    seeds = [(cfg.seed, number) for number in range(cfg.clips)]
    write_tree(folder, seeds, cfg.frames, hydra.utils.instantiate(cfg.pose_errors), cfg.held_out, size)
    print(f"wrote {cfg.clips} clips of {cfg.frames} frames to {folder}; refine and score them with")
    settings = (
        f"dataset.root={folder} dataset.predictions={folder}/predictions dataset.annotations={folder}/annotations"
    )
    print(f"  python refine.py dataset=posetrack18 model=demo {settings}")


if __name__ == "__main__":
    cli.run(main, "make_sample")
