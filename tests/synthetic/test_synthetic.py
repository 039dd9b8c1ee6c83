"""Drawn people: exact, different, and the same for the same seed."""

import json
from colorsys import rgb_to_hsv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import compose, pose_errors, succeed
from hydra.utils import instantiate

from hpr.formats import PoseTrack18
from hpr.images import read_image
from hpr.metrics.posetrack import PoseTrackTruth
from hpr.metrics.truth import FilesByName
from hpr.seeds import Purpose, generator
from hpr.skeleton import POSETRACK15
from hpr.synthetic.body import ANGLES, Build, draw_build, draw_motion, posture
from hpr.synthetic.scene import HIDDEN, OUTSIDE, SELF_HIDDEN, VISIBLE, Clip
from hpr.synthetic.tree import write_tree
from hpr.synthetic.wardrobe import draw_outfit

AVERAGE = Build(1.75, 1, 1, 1, 1, 1, 1)
UPRIGHT = dict.fromkeys(ANGLES, 0.0)


def test_an_upright_body_has_human_proportions() -> None:
    points = posture(AVERAGE, UPRIGHT, yaw=0.0).points
    assert points["head_top"][1] == pytest.approx(1.75, abs=0.08)
    assert min(point[1] for point in points.values()) == pytest.approx(0)
    assert points["left_wrist"][1] < points["left_elbow"][1] < points["left_shoulder"][1]
    assert points["left_shoulder"][0] > 0 > points["right_shoulder"][0]  # x is to the left
    assert points["nose"][2] > points["head_top"][2]  # z is forward


def test_bending_goes_the_human_way() -> None:
    bent = {**UPRIGHT, "left_elbow": 1.5, "left_knee": 1.5, "bend": 1.0, "right_thigh": 1.0, "right_swing": 1.0}
    points = posture(AVERAGE, bent, yaw=0.0).points
    upright = posture(AVERAGE, {**bent, "bend": 0.0}, yaw=0.0).points
    assert upright["left_wrist"][2] > upright["left_elbow"][2] + 0.2  # forearms fold forward
    assert upright["left_ankle"][2] < upright["left_knee"][2] - 0.2  # shins fold back
    assert upright["right_knee"][2] > 0.2  # thighs swing forward
    assert upright["right_elbow"][2] > 0.1
    assert points["head_top"][2] > 0.3  # stooping is forward


def test_limbs_keep_their_length_in_motion() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        build, motion = draw_build(random), draw_motion(random)
        lengths = []
        for time in (0.0, 0.4, 1.3):
            points = posture(build, motion.angles(time), yaw=2.0).points
            pairs = (("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("right_hip", "right_knee"))
            lengths.append([np.linalg.norm(points[a] - points[b]) for a, b in pairs])
        np.testing.assert_allclose(lengths, [lengths[0]] * 3)
        assert np.isfinite(lengths).all()


@pytest.mark.parametrize("seed", range(6))
def test_truth_is_consistent(seed: int) -> None:
    image, people = Clip((11, seed)).frame(0.5)
    height, width = image.shape[:2]
    for person in people:
        inside = ((person.keypoints >= 0) & (person.keypoints < [width, height])).all(axis=1)
        np.testing.assert_array_equal(person.occlusion != OUTSIDE, inside)
        annotated = ~np.isnan(person.annotated[:, 0])
        np.testing.assert_array_equal(annotated, np.isin(person.occlusion, (VISIBLE, SELF_HIDDEN)))
        x0, y0, x1, y1 = person.head_box
        x, y = (
            person.keypoints[POSETRACK15.index("head_top")] + person.keypoints[POSETRACK15.index("head_bottom")]
        ) / 2
        assert x0 < x < x1
        assert y0 < y < y1


def test_every_kind_of_occlusion_occurs() -> None:
    kinds = [person.occlusion for seed in range(12) for person in Clip((12, seed)).frame(0.2)[1]]
    shares = np.bincount(np.concatenate(kinds), minlength=4) / (len(kinds) * len(POSETRACK15))
    assert shares[VISIBLE] > 0.4
    assert (shares[[SELF_HIDDEN, HIDDEN, OUTSIDE]] > 0.03).all()


def test_people_move_and_keep_their_ids() -> None:
    clip = Clip((13, 4))
    before, after = ({p.track_id: p for p in clip.frame(time)[1]} for time in (0.0, 0.5))
    assert before.keys() & after.keys()
    moved = [np.abs(before[i].keypoints - after[i].keypoints).max() for i in before.keys() & after.keys()]
    assert min(moved) > 0


def test_the_samples_clothes_are_never_drawn_in_training() -> None:
    random = np.random.default_rng(0)
    patterns = [{draw_outfit(random, held_out).pattern for _ in range(200)} for held_out in (False, True)]
    assert patterns[0] & patterns[1] == {"plain"}
    coloured = [
        {_hue(o.top) for o in (draw_outfit(random, held_out) for _ in range(2000)) if max(o.top) - min(o.top) > 100}
        for held_out in (False, True)
    ]
    assert coloured[0]
    assert coloured[1]
    assert not coloured[0] & coloured[1]


def _hue(colour: tuple[int, int, int]) -> int:
    """In hundredths of the circle."""
    return round(100 * rgb_to_hsv(*colour)[0]) % 100


def test_tree_is_a_posetrack_tree(tmp_path: Path) -> None:
    errors = instantiate(compose("train").pose_errors)
    write_tree(tmp_path, [(3, 0), (3, 1)], frames=3, errors=errors, held_out=True)
    truth, predictions = tmp_path / "annotations", tmp_path / "predictions"
    annotated = PoseTrackTruth(FilesByName(PoseTrack18(), truth))
    perfect = annotated.score(FilesByName(PoseTrack18(), truth))
    assert perfect.by_keypoint["AP"]["total"] == pytest.approx(100)
    assert perfect.by_keypoint["MOTA"]["total"] == pytest.approx(100)
    assert perfect.warnings == []
    wrong = annotated.score(FilesByName(PoseTrack18(), predictions))
    assert 20 < wrong.by_keypoint["AP"]["total"] < 90
    for path in truth.iterdir():
        document = json.loads(path.read_text())
        for image in document["images"]:
            picture = read_image(tmp_path / image["file_name"])
            assert picture.shape == (image["height"], image["width"], 3)
        assert {annotation["track_id"] for annotation in document["annotations"]}
        assert all(len(annotation["keypoints"]) == 51 for annotation in document["annotations"])


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({}, 1),
        ({"missed_person": 1.0}, 0),
        ({"duplicate_person": 1.0}, 2),
        ({"false_person": 1.0}, 2),
        ({"missed_person": 1.0, "duplicate_person": 1.0, "false_person": 1.0}, 2),
    ],
)
def test_people_missed_seen_twice_and_seen_where_nobody_is(
    changes: dict[str, float], factor: int, tmp_path: Path
) -> None:
    errors = pose_errors(0.0, **{"missed_person": 0.0, **changes})
    write_tree(tmp_path, [(3, 1)], frames=2, errors=errors, held_out=True, size=(200, 150))
    kinds = ("annotations", "predictions")
    clips = [PoseTrack18().read(tmp_path / kind / "clip_0003_0001.json")[0] for kind in kinds]
    truth, predicted = (sum(len(frame) for frame in clip.frames) for clip in clips)
    assert truth > 0
    assert predicted == factor * truth


class TestSeeds:
    def test_no_two_purposes_share_a_seed(self) -> None:
        names = Purpose.__members__  # iterating an enum would skip aliases, which share a number
        assert len({generator(purpose, 1, 0).integers(2**62) for purpose in names.values()}) == len(names)

    def test_trailing_zeros_are_why_a_purpose_comes_first(self) -> None:
        """numpy takes (2, 1) and (2, 1, 0) for one seed."""
        assert np.random.default_rng((2, 1)).random() == np.random.default_rng((2, 1, 0)).random()

    @pytest.mark.parametrize("seed", range(3))
    def test_training_never_draws_a_clip_of_the_sample_or_the_validation(self, seed: int, tmp_path: Path) -> None:
        size, errors = (200, 150), instantiate(compose("train").pose_errors)
        write_tree(tmp_path / "a", [(seed, 0)], 1, errors, held_out=False, size=size)
        write_tree(tmp_path / "b", [(seed, 0)], 1, errors, False, size, purpose=Purpose.VALIDATION_SCENE)
        name = f"images/clip_{seed:04d}_0000/000000.jpg"
        pictures = [read_image(tmp_path / folder / name) for folder in "ab"]
        pictures.append(Clip((Purpose.TRAINING_SCENE, seed, 0, 0), size=size).frame(0.0)[0])
        assert all(not np.array_equal(a, b) for a, b in combinations(pictures, 2))


def test_make_sample_command(tmp_path: Path) -> None:
    output = succeed("make-sample", f"output_dir={tmp_path / 'a'}", "clips=1", "frames=2", "width=320", "height=240")
    assert f"refine dataset=posetrack18 model=demo root={tmp_path / 'a'}" in output
    assert read_image(next((tmp_path / "a" / "images").rglob("*.jpg"))).shape == (240, 320, 3)
    succeed("make-sample", f"output_dir={tmp_path / 'b'}", "clips=1", "frames=2", "width=320", "height=240")
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
