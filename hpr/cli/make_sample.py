"""`hpr make-sample`: draw clips of people as a PoseTrack 2018 data set."""

from pathlib import Path

from hpr.cli import app
from hpr.cli.components import Component, build
from hpr.cli.progress import progress_bar
from hpr.errors import counted
from hpr.settings import CanvasSide, Count, Section, Seed
from hpr.synthetic.tree import write_tree


class MakeSampleSettings(Section):
    """conf/make_sample.yaml."""

    output_dir: str
    clips: Count
    frames: Count
    seed: Seed
    held_out: bool
    width: CanvasSide | None
    height: CanvasSide | None
    pose_errors: Component


def make_sample(settings: MakeSampleSettings) -> None:
    """Draws the clips and says how to refine them."""
    folder = Path(settings.output_dir)
    size = None if settings.width is None or settings.height is None else (settings.width, settings.height)
    seeds = [(settings.seed, index) for index in range(settings.clips)]
    errors = build("pose_errors", settings.pose_errors)
    with progress_bar("clips", len(seeds), doing="drawing clips") as progress:
        write_tree(folder, seeds, settings.frames, errors, settings.held_out, size, progress)

    wrote = f"{counted(settings.clips, 'clip')} of {counted(settings.frames, 'frame')}"
    print(f"wrote {wrote} to {folder}; refine and score them with")
    folders = f"root={folder} poses={folder}/predictions annotations={folder}/annotations"
    print(f"  hpr refine dataset=posetrack18 model=demo {folders}")


COMMAND = app.Command("make_sample", MakeSampleSettings, make_sample)
