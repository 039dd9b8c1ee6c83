"""`hpr visualize`, and visualize=true of `hpr refine`."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, GOLDEN, PREDICTIONS, SAMPLE, fail, frames_of, succeed

from hpr.formats import PoseTrack18, get_format
from hpr.formats.conversion import without_original
from hpr.images import read_image
from hpr.report.clip import write_clip
from hpr.report.drawing import GAP
from hpr.report.pictures import safe_names
from hpr.video import Video

REFINED = GOLDEN / "posetrack18" / "refined_mota"


def words(tmp_path: Path, **settings: object) -> list[str]:
    """Returns a command line with some settings other than usual."""
    given = {"poses": PREDICTIONS, "images": GOLDEN, "output_dir": tmp_path / "out", **settings}
    return [f"{name}={value}" for name, value in given.items()]


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("layout", ["side", "blend", "single"])
def test_pictures_before_and_after(layout: str, tmp_path: Path) -> None:
    printed = succeed("visualize", *words(tmp_path, refined=REFINED, layout=layout))
    expected = []
    for path in sorted(PREDICTIONS.glob("*.json")):
        (sequence,) = PoseTrack18().read(path)
        names = safe_names(Path(frame.image).stem for frame in sequence.frames)
        for frame, name in zip(sequence.frames, names, strict=True):
            expected.append(f"{path.stem}/{name}.jpg")
            height, width = read_image(GOLDEN / frame.image).shape[:2]
            picture = read_image(tmp_path / "out" / expected[-1])
            assert picture.shape == (height, 2 * width + GAP if layout == "side" else width, 3)
    assert files_in(tmp_path / "out") == sorted(expected)
    assert printed.splitlines()[-1] == f"drew {len(expected)} frames: {tmp_path / 'out' / 'seq_a'} …"


def test_input_alone(tmp_path: Path) -> None:
    """What is there already is only overwritten if that is wanted."""
    own, folder = words(tmp_path, poses=PREDICTIONS / "seq_a.json"), tmp_path / "out" / "seq_a"
    succeed("visualize", *own)
    assert f"error: {folder}: exists already; set another output_dir, or overwrite=true" == fail("visualize", *own)
    succeed("visualize", *own, "overwrite=true")
    (sequence,) = PoseTrack18().read(PREDICTIONS / "seq_a.json")
    for frame in sequence.frames:
        picture = read_image(folder / f"{Path(frame.image).stem}.jpg")
        image = read_image(GOLDEN / frame.image)
        assert picture.shape == image.shape
        assert (np.abs(picture.astype(int) - image).max() > 60) == bool(frame.is_posed.any())


@pytest.mark.parametrize(
    "setting",
    [{"min_score": 0.0}, {"boxes": True}, {"names": True}, {"colour": "person"}, {"colour": "track"}],
    ids=str,
)
def test_every_setting_changes_the_picture(setting: dict[str, object], tmp_path: Path) -> None:
    (sequence,) = PoseTrack18().read(PREDICTIONS / "seq_a.json")
    frame = sequence.frames[0]
    scores = np.full_like(frame.scores, 0.9)
    scores[:, :7] = 0.1
    boxes = np.array([[20.0, 20, 300, 300]] * len(frame))
    own = replace(frame, scores=scores, boxes=boxes, track_ids=(3,) * len(frame))
    get_format("npz").write([replace(sequence, frames=[own])], tmp_path / "a.npz")
    pictures = []
    for name, given in (("usual", {}), ("other", setting)):
        folder = tmp_path / name
        printed = succeed("visualize", *words(tmp_path, poses=tmp_path / "a.npz", output_dir=folder, **given))
        assert printed == f"drew 1 frame: {folder / 'a'}\n"
        pictures.append(read_image(folder / "a" / f"{Path(frame.image).stem}.jpg"))
    assert (np.abs(pictures[0].astype(int) - pictures[1]).max(axis=-1) > 60).sum() > 30


def test_missing_images_are_counted(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    shutil.copy(GOLDEN / "images" / "b_333x501.png", tmp_path / "images")
    printed = succeed("visualize", *words(tmp_path, images=tmp_path, refined=REFINED), status=3)
    count = sum(len(sequence.frames) for path in PREDICTIONS.glob("*.json") for sequence in PoseTrack18().read(path))
    assert f"warning: {count - len(files_in(tmp_path / 'out'))} frames left out without an image; " in printed
    assert f"the first: {tmp_path / 'images'}" in printed


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video of three frames, and poses in the first and the last of them, before and after."""
    folder = tmp_path_factory.mktemp("clip")
    pictures = [read_image(path) for path in sorted((SAMPLE / "images" / "clip_0002_0001").glob("*.jpg"))[:3]]
    write_clip(pictures, 12.5, folder / "video.webm")
    (sequence,) = without_original(PoseTrack18().read(SAMPLE / "predictions" / "clip_0002_0001.json"))
    frames = [replace(sequence.frames[k], number=k, image=f"video_{k:012}.jpg") for k in (0, 2)]
    frames = [frame.select(np.array([0, 1])) for frame in frames]
    for name, shift in (("before", 0.0), ("after", 30.0)):
        (folder / name).mkdir()
        moved = [replace(frame, keypoints=frame.keypoints + shift) for frame in frames]
        get_format("npz").write([replace(sequence, frames=moved)], folder / name / "video.npz")
    return folder


def test_clip_of_a_video(clip: Path, tmp_path: Path) -> None:
    given = {"poses": clip / "before", "refined": clip / "after", "images": clip / "video.webm"}
    printed = succeed("visualize", *words(tmp_path, **given))
    (name,) = files_in(tmp_path / "out")
    assert printed == f"drew 3 frames: {tmp_path / 'out' / name}\n"
    paths = tmp_path / "out" / name, clip / "video.webm"
    drawn, originals = ([frame.astype(int) for frame in frames_of(path)] for path in paths)
    width = originals[0].shape[1]
    assert drawn[0].shape[1] == 2 * width + GAP
    changed = [
        [np.abs(one[50:-50, start : start + width] - own[50:-50]).max() > 100 for start in (0, width + GAP)]
        for one, own in zip(drawn, originals, strict=True)
    ]
    assert changed == [[True, True], [False, False], [True, True]]
    assert Video(paths[0]).frame_rate == pytest.approx(12.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("file", "refined: expected a refined file for seq_a.json, found none of that name"),
        ("frames", "refined/seq_a.json: expected 3 frames of seq_a, as in "),
        ("image", "refined/seq_a.json: frame 1 of seq_a: expected image '"),
    ],
)
def test_refined_files_that_do_not_fit(change: str, message: str, tmp_path: Path) -> None:
    document = json.loads((REFINED / "seq_a.json").read_text())
    if change == "frames":
        document["images"].pop()
    if change == "image":
        document["images"][1]["file_name"] = "images/another.png"
    (tmp_path / "refined").mkdir()
    path = tmp_path / "refined" / ("other.json" if change == "file" else "seq_a.json")
    path.write_text(json.dumps({**document, "annotations": []}))
    assert message in fail("visualize", *words(tmp_path, refined=tmp_path / "refined"))
    assert not (tmp_path / "out").exists()


def test_refining_draws_what_it_did(tmp_path: Path, clip: Path) -> None:
    """Of a folder and of a video; the refined poses are those on the right."""
    files = [f"dataset.predictions={clip / 'before' / 'video.npz'}", f"dataset.images={clip / 'video.webm'}"]
    given = [*DEMO, "visualize=true", *files]
    printed = succeed("refine.py", *given, f"output_dir={tmp_path / 'refined'}")
    (name,) = files_in(tmp_path / "refined" / "pictures")
    assert f"drew 3 frames: {tmp_path / 'refined' / 'pictures' / name}" in printed
    assert ", pictures\n" in printed
    results = tmp_path / "refined" / "predictions"
    succeed("visualize", *words(tmp_path, poses=clip / "before", refined=results, images=clip / "video.webm"))
    by_command, by_refining = (frames_of(tmp_path / folder / name) for folder in ("out", "refined/pictures"))
    np.testing.assert_array_equal(by_command, by_refining)
    # Once more, where all has been refined: the clip is there already.
    succeed("refine.py", *given, f"output_dir={tmp_path / 'refined'}")
