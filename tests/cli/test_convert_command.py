"""`hpr convert`, and refining of what it writes, in every format."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, SAMPLE, fail, read_report, succeed

from hpr.formats import FORMATS, PoseTrack18, get_format
from hpr.formats.conversion import without_original
from hpr.images import read_image
from hpr.poses import PoseSequence
from hpr.report.clip import write_clip
from hpr.skeleton import POSETRACK15


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames of the sample in PoseTrack's format, their images, and in the folder `truth` their annotations."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "images").mkdir()
    (folder / "truth").mkdir()
    for kind, target in (("predictions", folder), ("annotations", folder / "truth")):
        document = json.loads((SAMPLE / kind / "clip_0002_0001.json").read_text())
        document["images"] = document["images"][:2]
        known = {image["id"] for image in document["images"]}
        document["annotations"] = [person for person in document["annotations"] if person["image_id"] in known]
        for number, image in enumerate(document["images"]):
            picture = folder / "images" / f"{number:06}.jpg"
            picture.write_bytes((SAMPLE / image["file_name"]).read_bytes())
            image["file_name"] = picture.name
        (target / "clip.json").write_text(json.dumps(document))
    return folder


def converted(clip: Path, name: str, folder: Path, images: Path | None = None) -> Path:
    """Converts the clip and returns where the result is."""
    output = folder / ("clip" if FORMATS[name].is_folder else f"clip{FORMATS[name].ending}")
    words = [f"poses={clip / 'clip.json'}", f"format={name}", f"output={output}", f"images={images or clip / 'images'}"]
    succeed("convert", *words)
    return output


def read(path: Path, images: Path) -> PoseSequence:
    (sequence,) = get_format("auto", images=str(images), location=str(path)).read(path)
    return sequence


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "mmpose"])  # which does not name images
def test_every_format_is_written_recognised_and_refined(name: str, clip: Path, tmp_path: Path) -> None:
    source = converted(clip, name, tmp_path)
    before = read(source, clip / "images")
    (original,) = PoseTrack18().read(clip / "clip.json")
    assert [len(frame) for frame in before.frames] == [len(frame) for frame in original.frames]
    for own, first in zip(before.frames, original.frames, strict=True):
        common = [keypoint for keypoint in POSETRACK15.names if keypoint in own.skeleton]
        places, firsts = own.skeleton.indices(*common), first.skeleton.indices(*common)
        np.testing.assert_allclose(own.keypoints[:, places], first.keypoints[:, firsts], atol=0.01)

    images = f"dataset.images={clip / 'images'}"
    printed = succeed("refine.py", *DEMO, f"dataset.predictions={source}", images, f"output_dir={tmp_path / 'out'}")
    assert f"taken for the format {name} (" in printed
    report = read_report(tmp_path / "out")
    assert report["format"] == name
    assert report["persons"]["refined"] == before.people
    after = read(tmp_path / "out" / "predictions" / source.name, clip / "images")
    moved = [
        np.nanmedian(np.abs(new.keypoints - old.keypoints))
        for new, old in zip(after.frames, before.frames, strict=True)
    ]
    assert all(0.01 < distance < 50 for distance in moved)


@pytest.mark.parametrize("name", ["mmpose", "openpose", "alphapose"])
def test_pixels_from_a_video(name: str, clip: Path, tmp_path: Path) -> None:
    video = tmp_path / "clip.webm"
    write_clip([read_image(clip / "images" / f"{number:06}.jpg") for number in (0, 1)], 25, video)

    (sequence,) = without_original(PoseTrack18().read(clip / "clip.json"))
    names = ["0.jpg", "1.jpg"] if name == "alphapose" else ["clip_000000000000.jpg", "clip_000000000001.jpg"]
    frames = [replace(frame, number=n, image=names[n]) for n, frame in enumerate(sequence.frames)]
    source = tmp_path / ("clip" if FORMATS[name].is_folder else f"clip{FORMATS[name].ending}")
    get_format(name).write([replace(sequence, frames=frames)], source)
    settings = [f"dataset.predictions={source}", f"dataset.images={video}"]
    succeed("refine.py", *DEMO, *settings, f"output_dir={tmp_path / 'out'}")
    report = read_report(tmp_path / "out")
    assert report["persons"]["refined"] == sequence.people


def test_what_is_lost_is_said(clip: Path, tmp_path: Path) -> None:
    words = [f"poses={clip / 'clip.json'}", "format=coco", f"output={tmp_path / 'clip.json'}"]
    printed = succeed("convert", *words)
    assert "clip.json: lost, since coco has no place for it: " in printed
    assert "keypoints head_top" in printed
    assert "track ids" in printed
    assert "converted 1 from posetrack18 to coco" in printed
    assert "exists already; set another output, or overwrite=true" in fail("convert", *words)
    succeed("convert", *words, "overwrite=true")


@pytest.mark.parametrize(("name", "metric", "column"), [("coco", "OKS", "AP"), ("mpii", "PCKh", "Mean")])
def test_scores_are_those_of_the_annotations(name: str, metric: str, column: str, clip: Path, tmp_path: Path) -> None:
    """Before and after, in one table and in the report; the same by the command for scoring."""
    truth = converted(clip / "truth", name, tmp_path, clip / "images")
    (tmp_path / "in").mkdir()
    source = converted(clip, name, tmp_path / "in")

    files = [f"dataset.predictions={source}", f"dataset.annotations={truth}"]
    words = [*DEMO, *files, f"dataset.images={clip / 'images'}", f"output_dir={tmp_path / 'out'}", "objective=map"]
    printed = succeed("refine.py", *words)
    assert f"{metric:<6}before" in printed
    metrics = read_report(tmp_path / "out")["metrics"]
    assert 0 < metrics["before"][metric][column] < metrics["after"][metric][column] <= 100

    refined = tmp_path / "out" / "predictions" / source.name
    files = [f"dataset.predictions={refined}", f"dataset.annotations={truth}", f"output={tmp_path / 'scores.json'}"]
    printed = succeed("evaluate", *files)
    assert f"{metrics['after'][metric][column]:.1f}" in printed
    assert json.loads((tmp_path / "scores.json").read_text())["total"] == metrics["after"]
