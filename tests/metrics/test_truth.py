"""Which file, sequence and frame of the truth belongs to which prediction."""

from dataclasses import replace
from pathlib import Path

import pytest
from scored_clips import Person, frame, people, score, sequence

from hpr.errors import UserError
from hpr.formats import PoseTrack18
from hpr.metrics.pckh import PckhTruth
from hpr.metrics.posetrack import PoseTrackTruth
from hpr.metrics.scoring import open_truth
from hpr.metrics.truth import FilesByName, match_predicted
from hpr.poses import Frame, FrameKey, PoseSequence
from hpr.skeleton import POSETRACK15

CLIP = sequence(*[[Person(pose)] for pose in people(4)])


def named(*names: str) -> list[PoseSequence]:
    return [replace(CLIP, name=name) for name in names]


def renamed(clip: PoseSequence, pattern: str) -> PoseSequence:
    return replace(clip, frames=[replace(frame, image=pattern.format(i)) for i, frame in enumerate(clip.frames)])


def image(name: str, count: int) -> Frame:
    return Frame(name, POSETRACK15, people(count))


class CountedFiles(dict[str, list[PoseSequence]]):
    """Files that remember which of them were read."""

    def __init__(self, *names: str) -> None:
        super().__init__({name: named(name) for name in names})
        self.read: list[str] = []

    def __getitem__(self, name: str) -> list[PoseSequence]:
        self.read.append(name)
        return super().__getitem__(name)


class TestFiles:
    @pytest.mark.parametrize(
        ("truth", "predicted", "message"),
        [
            ([], [], "^there is no sequence to be scored$"),
            (["a"], [], "^there is no sequence to be scored$"),
            ([], ["a"], "^DIR: expected a file named like one of the predictions, such as a, found none$"),
            (["b"], ["c", "a"], "^DIR: expected .* such as a, found none$"),
        ],
    )
    def test_nothing_in_common(self, truth: list[str], predicted: list[str], message: str) -> None:
        files = CountedFiles(*truth)
        with pytest.raises(UserError, match=message):
            PoseTrackTruth(files, "DIR").score({name: [CLIP] for name in predicted})
        assert files.read == []

    def test_pair_by_name_and_are_read_once(self) -> None:
        files, done = CountedFiles("a", "b", "d"), list[int]()
        truth = PoseTrackTruth(files)
        predicted = {"b": named("other"), "a": named("a"), "c": named("c"), "e": named("e")}
        scores = truth.score(predicted, done.append)
        assert list(scores.sequences) == ["a", "b"]  # the only sequences of two files need no name in common
        assert scores.totals["AP"] == 100
        assert scores.warnings == [
            "left out: 1 file without prediction, such as d",
            "left out: 2 files without truth, such as c",
        ]
        pairs, warnings = truth.pairs(predicted, done.append)
        assert [(pair.file, pair.key) for pair in pairs[3:5]] == [("a", FrameKey(0, 3)), ("b", FrameKey(0, 0))]
        assert warnings == scores.warnings
        assert files.read == ["a", "b"]
        assert done == [1, 1, 1, 1]

    def test_several_sequences_in_a_file(self) -> None:
        truth = PoseTrackTruth({"all.json": named("first", "second", "third")})
        predicted = {"all.json": named("third", "first", "fourth")}
        scores = truth.score(predicted)
        assert list(scores.sequences) == ["first", "third"]
        assert scores.totals["AP"] == 100
        assert scores.warnings == [
            "second: expected 4 frames or the truth's image names, found 0: this sequence is left out",
            "fourth: expected 0 frames or the truth's image names, found 4: this sequence is left out",
        ]
        assert [pair.key for pair in truth.pairs(predicted)[0]][::4] == [FrameKey(1, 0), FrameKey(0, 0)]

    def test_of_a_folder(self, tmp_path: Path) -> None:
        for name in ("b.json", "a.json"):
            PoseTrack18().write([CLIP], tmp_path / name)
        files = FilesByName(PoseTrack18(), tmp_path)
        assert (list(files), len(files), "c.json" in files) == (["a.json", "b.json"], 2, False)
        (tmp_path / "b.json").write_text("{")  # it is not read before it is scored
        assert open_truth(PoseTrack18(), str(tmp_path)).score({"a.json": files["a.json"]}).totals["AP"] == 100
        with pytest.raises(UserError, match=r"b.json: not valid JSON"):
            files["b.json"]


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([], [], []),
        (["x/a.jpg", "b.jpg"], ["b.png", "c.png", "a.png"], [1, None, 0]),
        (["x/a.jpg", "y/a.jpg"], ["y/a.jpg", "x/a.jpg", "a.jpg"], [1, 0, None]),
        (["x/a.jpg", "x/a.jpg"], ["a.png", "a.png"], [0, 1]),
    ],
)
def test_images_by_name(truth: list[str], predicted: list[str], expected: list[int | None]) -> None:
    assert match_predicted(truth, predicted) == expected


EXTRA = frame("000009.jpg", [Person(people(1)[0])])
BY_POSITION = "its images have other names than the truth's; frames are paired by position"
ONE_MISSING = "1 of the truth's 4 frames missing, taken as empty; 1 frame not in the truth, left out"
REVERSED = "its frames are in another order than the truth's; they are paired by name"


@pytest.mark.parametrize(
    ("predicted", "recall", "warning"),
    [
        (renamed(CLIP, "other/{:06d}.png"), 100, None),
        (replace(CLIP, frames=CLIP.frames[::-1]), 100, REVERSED),
        (replace(CLIP, frames=[*CLIP.frames[1:], EXTRA]), 75, ONE_MISSING),
        (renamed(CLIP, "x{}.jpg"), 100, BY_POSITION),
        (renamed(CLIP, "000000.jpg"), 100, BY_POSITION),
    ],
)
def test_frames_of_a_clip(predicted: PoseSequence, recall: float, warning: str | None) -> None:
    scores = score((CLIP, predicted))
    assert scores.by_keypoint["AP_recall"]["total"] == recall
    assert scores.by_keypoint["AP_precision"]["total"] == 100
    assert scores.warnings == ([] if warning is None else [f"clip: {warning}"])


def test_a_clip_of_other_names_and_number_alone_is_refused() -> None:
    short = renamed(replace(CLIP, frames=CLIP.frames[1:]), "x{}.jpg")
    with pytest.raises(UserError, match="clip: expected 4 frames or the truth's image names, found 3"):
        score((CLIP, short))


def test_predictions_of_images_are_found_in_any_file() -> None:
    truth = PckhTruth([image("x/a.jpg", 2), image("b.jpg", 1), image("unannotated.jpg", 0)], "DIR")
    images = {"1": [image("z.jpg", 1)], "2": [image("z.jpg", 1), image("a.png", 3)], "3": [image("a", 1)]}
    files = {name: [PoseSequence("", frames)] for name, frames in images.items()}
    pairs, warnings = truth.pairs(files)
    assert [(pair.truth.image, pair.estimate.image, pair.file, pair.key) for pair in pairs] == [
        ("x/a.jpg", "a.png", "2", FrameKey(0, 1)),
        ("b.jpg", "b.jpg", None, None),
    ]
    assert [len(pair.estimate) for pair in pairs] == [3, 0]
    assert warnings == [
        "left out: 2 images not in DIR, such as z.jpg",
        "1 of 2 images of DIR have no prediction and count as without a person, such as b.jpg",
    ]
    with pytest.raises(UserError, match=r"^DIR: expected an image named like z\.jpg, found none$"):
        truth.pairs({"1": files["1"]})


def test_frames_that_are_not_annotated_are_not_paired() -> None:
    """As in scoring."""
    first, second, *others = CLIP.frames
    truth = PoseTrackTruth({"a": [replace(CLIP, frames=[first, Frame.empty(second.image, POSETRACK15), *others])]})
    pairs, warnings = truth.pairs({"a": [CLIP]})
    assert ([pair.key for pair in pairs], warnings) == ([FrameKey(0, 0), FrameKey(0, 2), FrameKey(0, 3)], [])
    empty = [Frame.empty(frame.image, POSETRACK15) for frame in CLIP.frames]
    with pytest.raises(UserError, match=r"^the annotations: expected annotated people, found none$"):
        PoseTrackTruth({"a": [replace(CLIP, frames=empty)]}).pairs({"a": [CLIP]})
