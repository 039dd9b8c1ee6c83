"""Wild annotations and predictions: scored by every metric, or refused in one line, without a warning of numpy's."""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import note
from hypothesis import strategies as st
from strategies import RANDOM, drawn_frames, mutated_json, spoil, try_often, unless_refused

from hpr.formats import FORMATS, get_format
from hpr.metrics.person_changes import annotated_changes, moved_most
from hpr.metrics.scores import Scores
from hpr.metrics.scoring import open_truth
from hpr.metrics.truth import FilesByName
from hpr.poses import Frame, PoseSequence

PAIRS = {
    **{name: (name, name) for name in ("posetrack18", "posetrack17", "posetrack21", "coco", "crowdpose", "mpii")},
    "alphapose against mpii": ("mpii", "alphapose"),
    "arrays against coco": ("coco", "npz"),
}
"""Formats of the annotations and of the predictions."""


def estimate(frame: Frame, draw: np.random.Generator) -> Frame:
    """Returns what an estimator may say of a frame: some people, most of them nearly right, in any order."""
    people = draw.permutation(len(frame))[: draw.integers(0, len(frame) + 1)]
    some = frame.select(people)
    keypoints = some.keypoints + draw.normal(0, draw.choice([0, 5, 500]), some.keypoints.shape)
    scores = draw.random(some.scores.shape)
    for array in (keypoints, scores):
        spoil(array, draw)
    keypoints[np.isnan(keypoints).any(axis=-1)] = np.nan
    return replace(some, keypoints=keypoints, scores=scores)


def attempt(truth_name: str, predicted_name: str, seed: int, draw: Random) -> str:
    """Scores a wild prediction against wild annotations; returns whether it was "scored" or "refused"."""
    random = np.random.default_rng(seed)
    truth = drawn_frames(random, FORMATS[truth_name].skeletons, wild=seed % 2 == 1)
    predicted = [estimate(frame, random) for frame in truth]
    draw.shuffle(predicted)
    with tempfile.TemporaryDirectory() as name:
        formats = (truth_name, predicted_name)
        paths = [Path(name) / kind / f"a{FORMATS[own].ending}" for kind, own in zip("tp", formats, strict=True)]
        for path, own, frames in zip(paths, formats, (truth, predicted), strict=True):
            path.parent.mkdir()
            get_format(own).write([PoseSequence("a", frames)], path)
            if path.suffix == ".json" and draw.random() < 0.5:
                path.write_bytes(mutated_json(path.read_bytes(), draw))
                note(f"{path.parent.name}: {path.read_bytes()[:3000]!r}")

        is_beside = predicted_name in ("coco", "crowdpose") and draw.random() < 0.5
        file_format = get_format(predicted_name, annotations=str(paths[0]) if is_beside else None)

        def scored() -> Scores:
            files = FilesByName(file_format, paths[1].parent)
            truth_of_run = open_truth(file_format, str(paths[0]))
            scores = truth_of_run.score(files, mota_threshold=draw.choice([0.0, 0.7]))
            truth_of_run.pairs(files)
            annotated_changes(truth_of_run, files, files.__getitem__, 3)
            moved_most(files, files.__getitem__, 3)
            return scores

        scores = unless_refused(scored)
    if scores is None:
        return "refused"
    assert not (np.array(list(scores.totals.values())) > 100 + 1e-9).any()
    scores.as_json()
    return "scored"


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", PAIRS)
def test_predictions_are_scored_or_refused(name: str) -> None:
    counts = try_often(partial(attempt, *PAIRS[name]), 25, seed=st.integers(0, 2**32), draw=RANDOM)
    assert min(counts["scored"], counts["refused"]) > 0
