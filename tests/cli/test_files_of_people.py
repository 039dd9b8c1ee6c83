"""Commands on files as people have them: paths in a real shell, broken files, telephones' photographs, videos."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import DEMO, GOLDEN, fail, read_report, succeed
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from hpr.cli import app, convert, refine, visualize
from hpr.formats import get_format
from hpr.images import read_image
from hpr.poses import FloatArray
from hpr.report.clip import write_clip

POSE = np.random.default_rng(0).uniform([120, 150, 0.5], [220, 330, 0.9], (17, 3)).round(2)
NAMES = ("My Photos (1)", "a=b,c", "it's $5 #1", "~t", "C:x", "Über [x] {y}", "中文&!;", '"q" \\ %', "12", "[x,y]")


def person(image: object, pose: FloatArray = POSE, **fields: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "keypoints": pose.ravel().tolist(), "score": 0.9, **fields}


def openpose(path: Path, pose: FloatArray = POSE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coco18 = np.concatenate([pose, pose[:1]]).ravel().tolist()
    path.write_text(json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": coco18}]}))


@pytest.fixture
def picture() -> np.ndarray[Any, Any]:
    return read_image(GOLDEN / "images" / "b_333x501.png")


class TestPaths:
    def test_in_a_real_shell(self, tmp_path: Path) -> None:
        lines = []
        for name in NAMES:
            (tmp_path / name).mkdir()
            (tmp_path / name / "r.json").write_text(json.dumps([person("a.jpg")]))
            words = [f"poses={name}/r.json", "format=coco", f"output={name}/out (1), ü.json"]
            lines.append(f"{sys.executable} -m hpr convert {shlex.join(words)}")
        shell = ["bash", "-c", " && ".join(lines)]
        result = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert all((tmp_path / name / "out (1), ü.json").is_file() for name in NAMES)

    @pytest.mark.parametrize("name", NAMES)
    def test_settings_of_commands(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whether the path exists, as of inputs, or not yet, as of outputs."""
        monkeypatch.chdir(tmp_path)
        for _ in range(2):
            images = "images=b" if "," in name else f"images=[{name},b.jpg]"
            drawn = app.compose(visualize.COMMAND, f"poses={name}", images, f"output_dir={name}/o", "every=2")
            assert (drawn.poses, drawn.output_dir, drawn.every) == (name, f"{name}/o", 2)
            assert drawn.images in ("b", [name, "b.jpg"])
            words = [f"dataset.predictions={name}", "dataset=auto", f"model.weights={name}"]
            refined = app.compose(refine.COMMAND, *words)
            assert (refined.dataset.predictions, refined.model.weights) == (name, name)
            assert refined.dataset.format["location"] == name
            (tmp_path / name).mkdir(exist_ok=True)

    def test_what_is_no_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        for name in ("2", "true", "coco", "${a}"):
            (tmp_path / name).mkdir()
        assert app.compose(visualize.COMMAND, "poses=${a}", "images=${poses}").images == "${a}"
        drawn = app.compose(visualize.COMMAND, "poses='a, b'", "images=[a,'b c']", "every=2", "overwrite=true")
        assert (drawn.poses, drawn.images, drawn.every, drawn.overwrite) == ("a, b", ["a", "b c"], 2, True)
        assert app.compose(visualize.COMMAND, "poses=~/a", "images=a", "refined=null").poses == f"{tmp_path}/home/a"
        assert "every=(2): expected a valid integer" in fail("visualize", "poses=a", "images=b", "every=(2)")
        assert "expected NAME=VALUE" in fail("visualize", "poses = a")

    @settings(deadline=None)
    @given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
    def test_any_text_that_cannot_be_parsed(self, text: str) -> None:
        value = f"(){text}"
        assert app.compose(convert.COMMAND, f"poses={value}", "format=a", "output=b").poses == value


class TestBrokenFiles:
    @pytest.mark.parametrize("spoilt", ["", '{"people": [{"pose_keypoints_2d": [1, 2]}]}', '{"people": [5]}', "other"])
    @pytest.mark.parametrize("index", [0, 1])
    def test_only_the_broken_frame_is_left_out(
        self, spoilt: str, index: int, picture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        names = [f"a_{number:012}" for number in range(3)]
        Path("images").mkdir()
        for name in names:
            openpose(Path(f"j/{name}_keypoints.json"))
            cv2.imwrite(f"images/{name}.png", picture)
        broken = Path(f"j/{names[index]}_keypoints.json")
        if spoilt == "other":  # people of another skeleton
            openpose(broken, np.concatenate([POSE, POSE[:7]]))
        else:
            broken.write_text(spoilt)

        words = [*DEMO, "dataset.predictions=j", "dataset.images=images", "output_dir=out"]
        fail("refine", *words, cwd=tmp_path)
        printed = succeed("refine", *words, "skip_broken=true", cwd=tmp_path, status=3)
        assert f"{broken.name}" in printed
        assert printed.count("this file is skipped") == 1
        assert "0 poses failed, 1 file skipped" in printed
        written = sorted(path.name for path in Path("out/predictions/j").iterdir())
        assert written == sorted({f"{name}_keypoints.json" for name in names} - {broken.name})
        assert read_report(Path("out"))["persons"]["refined"] == 2

    def test_broken_first_files_of_other_programs(self, picture: Any, tmp_path: Path) -> None:
        openpose(tmp_path / "j" / "b_keypoints.json")
        cv2.imwrite(str(tmp_path / "b.png"), picture)
        for name, ending in (("mmpose", "json"), ("ultralytics_labels", "txt")):
            folder = tmp_path / name
            output = folder / "b.json" if name == "mmpose" else folder
            succeed("convert", f"poses={tmp_path}/j", f"format={name}", f"output={output}", f"images={tmp_path}")
            (folder / f"a.{ending}").write_text("5 [")
            words = [*DEMO, folder, tmp_path, f"output_dir={tmp_path}/{name}_out", "skip_broken=true"]
            printed = succeed("refine", *words, status=3)
            assert "0 poses failed, 1 file skipped" in printed
            assert "1 of 1 refined" in printed


class TestPhotographs:
    def test_turned_pictures_give_the_poses_of_upright_ones(self, picture: Any, tmp_path: Path) -> None:
        """Refined, drawn and converted, given that programs have read the pictures by OpenCV."""
        exif = PillowImage.Exif()
        exif[0x0112] = 6
        for name, pixels, mark in (("exif", np.rot90(picture).copy(), exif), ("upright", picture, PillowImage.Exif())):
            (tmp_path / name).mkdir()
            PillowImage.fromarray(pixels).save(tmp_path / name / "a.png", exif=mark)
        (tmp_path / "r.json").write_text(json.dumps([person("a.png")]))
        written = []
        for name in ("exif", "upright"):
            images, out = f"images={tmp_path / name}", tmp_path / f"out_{name}"
            poses, labels, again = f"poses={tmp_path}/r.json", out / "labels", out / "again"
            succeed("refine", *DEMO, poses, images, f"output_dir={out}", "visualize=true")
            assert read_image(next((out / "pictures").rglob("*.jpg"))).shape[0] == picture.shape[0]
            succeed("convert", poses, images, "format=ultralytics_labels", f"output={labels}")
            succeed("convert", poses, images, "format=coco", f"output={out}/coco.json")
            succeed("refine", *DEMO, f"poses={labels}", images, f"output_dir={again}")
            files = [out / "predictions" / "r.json", labels / "a.txt", out / "coco.json"]
            written.append([path.read_text() for path in (*files, again / "predictions" / "labels" / "a.txt")])
        assert written[0] == written[1]

        said = succeed("convert", f"poses={tmp_path}/r.json", "format=mpii", f"output={tmp_path}/m.json")
        assert "how EXIF turns photographs, if it does; read the result with orientation=exif" in said

    def test_an_open_pose_folder_a_clip(self, picture: Any, tmp_path: Path) -> None:
        """Refined, drawn and converted; a dot in a folder's name begins no ending."""
        names, out = ["cam.1", "cam.2"], tmp_path / "out"
        for clip, pixels in zip(names, (picture, 255 - picture), strict=True):
            openpose(tmp_path / "j" / clip / "1_keypoints.json")
            (tmp_path / "images" / clip).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / "images" / clip / "1.png"), pixels)
        succeed("refine", *DEMO, tmp_path / "j", tmp_path / "images", f"output_dir={out}", "side_files=true")
        paths = [out / "predictions" / clip / "1_keypoints.json" for clip in names]
        assert paths[0].read_text() != paths[1].read_text()
        assert sorted(path.stem for path in (out / "all_keypoints").iterdir()) == names

        (tmp_path / "j" / "cam.2" / "1_keypoints.json").rename(tmp_path / "j" / "cam.2" / "2_keypoints.json")
        paths[1].rename(paths[1].with_name("2_keypoints.json"))
        (tmp_path / "images" / "cam.2" / "1.png").rename(tmp_path / "images" / "cam.2" / "2.png")
        drawn = [f"refined={out}/predictions", f"output_dir={tmp_path}/drawn"]
        succeed("visualize", tmp_path / "j", tmp_path / "images", *drawn)
        succeed("convert", tmp_path / "j", tmp_path / "c", "format=coco")
        assert sorted(path.stem for path in (tmp_path / "c").iterdir()) == names


class TestFrameNumbers:
    @pytest.mark.parametrize(
        "ids",
        [
            *([0, 1, 2], [1, 2], ["2", "1"], ["0.jpg", "2.jpg"], ["000000.jpg", "000002.jpg"], ["clip_0", "clip_1"]),
            *(["clip_000000000001.png"], ["000000000002.jpg"]),
        ],
        ids=str,
    )
    def test_results_of_a_video(self, ids: list[Any], picture: Any, tmp_path: Path) -> None:
        """Also after conversions of ours, which keep the names."""
        (tmp_path / "r.json").write_text(json.dumps([person(image) for image in ids]))
        write_clip([picture] * 3, 25, tmp_path / "clip.webm")
        sources = [tmp_path / "r.json"]
        for name in ("alphapose", "coco", "mmpose", "npz"):
            sources.append(tmp_path / f"{name}.{'npz' if name == 'npz' else 'json'}")
            succeed("convert", f"poses={tmp_path}/r.json", f"format={name}", f"output={sources[-1]}")
            (sequence,) = get_format("auto", location=str(sources[-1])).read(sources[-1])
            if name != "coco" or "." not in str(ids[0])[:2]:  # which knows no numbers but in names
                numbers = {int("".join(filter(str.isdigit, str(own)))) for own in ids}
                assert {frame.number for frame in sequence.frames} == numbers
        succeed("refine", *DEMO, sources[0], tmp_path / "clip.webm", f"output_dir={tmp_path}/o")

    def test_pictures_that_count_from_one(self, tmp_path: Path) -> None:
        """ffmpeg's frames begin with 000001.jpg, which is the first of the video."""
        (tmp_path / "r.json").write_text(json.dumps([person("000001.jpg"), person("000002.jpg")]))
        (sequence,) = get_format("alphapose").read(tmp_path / "r.json")
        assert [frame.number for frame in sequence.frames] == [None, None]
