"""Which file of ground truth belongs to which file of predictions."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scored_clips import Person, people, sequence

from hpr.errors import UserError
from hpr.metrics.posetrack import FilesByName, evaluate_files, evaluate_named
from hpr.formats import PoseTrack18
from hpr.poses import PoseSequence

CLIP = sequence(*[[Person(pose)] for pose in people(3)])


def write(folder: Path, *names: str) -> Path:
    for name in names:
        PoseTrack18().write([CLIP], folder / name)
    return folder


def test_files_are_paired_by_name(tmp_path: Path) -> None:
    truth = write(tmp_path / "gt", "clip.json", "unpredicted.json")
    prediction = write(tmp_path / "pred", "clip.json", "unannotated.json")
    evaluation = evaluate_files(PoseTrack18(), truth, prediction)
    assert evaluation.sequences.keys() == {"clip"}
    assert evaluation.warnings == [
        "1 sequences have no prediction and are not scored, such as unpredicted.json",
        "1 sequences have no truth and are not scored, such as unannotated.json",
    ]
    (prediction / "clip.json").unlink()
    with pytest.raises(UserError) as error:
        evaluate_files(PoseTrack18(), truth, prediction)
    expected = f"expected a file named like one of {prediction}, such as unannotated.json, found none"
    assert str(error.value) == f"{truth}: {expected}"


def test_two_single_files(tmp_path: Path) -> None:
    truth, prediction = write(tmp_path / "gt", "clip.json"), write(tmp_path / "pred", "clip.json", "other.json")
    evaluation = evaluate_files(PoseTrack18(), truth / "clip.json", prediction / "clip.json")
    assert evaluation.total["AP"]["total"] == 100
    assert evaluation.warnings == []


def test_only_files_with_a_partner_are_read(tmp_path: Path) -> None:
    truth, prediction = write(tmp_path / "gt", "clip.json"), write(tmp_path / "pred", "clip.json")
    (truth / "broken.json").write_text("{")
    done: list[int] = []
    evaluation = evaluate_files(PoseTrack18(), truth, prediction, done.append)
    assert evaluation.sequences.keys() == {"clip"}
    assert done == [1]
    (prediction / "broken.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match=r"gt/broken.json: not valid JSON"):
        evaluate_files(PoseTrack18(), truth, prediction)


@pytest.mark.parametrize("which", ["annotations", "predictions"])
def test_a_folder_that_is_not_there(tmp_path: Path, which: str) -> None:
    there = write(tmp_path / "there", "clip.json")
    folders = {"annotations": there, "predictions": there, which: Path("/no/where")}
    with pytest.raises(UserError, match=r"^/no/where: no such file or folder"):
        evaluate_files(PoseTrack18(), folders["annotations"], folders["predictions"])


def test_files_by_name(tmp_path: Path) -> None:
    files = FilesByName(PoseTrack18(), write(tmp_path, "b.json", "a.json"))
    assert list(files) == ["a.json", "b.json"]
    assert len(files) == 2
    assert "a.json" in files
    assert "c.json" not in files
    (sequence_of_a,) = files["a.json"]
    assert sequence_of_a.name == "a"
    with pytest.raises(KeyError):
        files["c.json"]


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([], [], "^there is no sequence to be scored$"),
        (["a"], [], "^there is no sequence to be scored$"),
        ([], ["a"], "^the annotations: expected a file named like one of the predictions, such as a, found none$"),
        (["b"], ["c", "a"], "^the annotations: expected .* such as a, found none$"),
    ],
)
def test_nothing_in_common(truth: list[str], predicted: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_named({name: [CLIP] for name in truth}, {name: [CLIP] for name in predicted})


def named(*names: str) -> list[PoseSequence]:
    return [replace(CLIP, name=name) for name in names]


def test_sequences_that_have_been_read() -> None:
    done: list[int] = []
    truth = {"a.json": named("a"), "b.json": named("b"), "d.json": named("d")}
    predicted = {"b.json": named("other"), "a.json": named("a"), "c.json": named("c"), "e.json": named("e")}
    evaluation = evaluate_named(truth, predicted, progress=done.append)
    assert list(evaluation.sequences) == ["a", "b"]  # the only sequences of two files need no name in common
    assert evaluation.total["AP"]["total"] == 100
    assert evaluation.warnings == [
        "1 sequences have no prediction and are not scored, such as d.json",
        "2 sequences have no truth and are not scored, such as c.json",
    ]
    assert done == [1, 1]


def test_several_sequences_in_a_file() -> None:
    truth, predicted = named("first", "second", "third"), named("third", "first", "fourth")
    evaluation = evaluate_named({"all.json": truth}, {"all.json": predicted})
    assert list(evaluation.sequences) == ["first", "third"]
    assert evaluation.total["AP"]["total"] == 100
    assert evaluation.warnings == [
        "second: expected 3 frames or the truth's image names, found 0: this sequence is not scored",
        "fourth: expected 0 frames or the truth's image names, found 3: this sequence is not scored",
    ]
