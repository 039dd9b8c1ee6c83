"""Odd settings: each is refused before any work, in one line that says what is allowed."""

import shutil
from pathlib import Path

import pytest
from conftest import DEMO, GOLDEN, GOLDEN_FILES, PREDICTIONS, fail

SCORED = [f"dataset.annotations={GOLDEN}/evaluation/gt", f"dataset.predictions={GOLDEN}/evaluation/pred"]
PLAIN: dict[str, list[str]] = {
    "refine": [*GOLDEN_FILES, *DEMO, "output_dir=out"],
    "train": ["canvas=[64,64]", "training.steps=4", "training.batch_size=4", "training.num_workers=0", "device=cpu"],
    "evaluate": SCORED,
    "learn-errors": SCORED,
    "convert": ["poses=clip.json", "format=coco", "output=out.json"],
    "visualize": [f"poses={PREDICTIONS}", f"images={GOLDEN}", "output_dir=out"],
    "make-sample": ["output_dir=out"],
}
KINDS = "head, shoulder, elbow, wrist, hip, knee, ankle"


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("refine", "dataset.predictions=/no/where", "/no/where: no such file or folder; expected a folder of .json"),
        ("refine", "dataset.root=/no/where", "expected /no/where/images/a_640x480.png and 4 more images, found none"),
        ("refine", "model.weights=nothing.safetensors", "nothing.safetensors: no such weights"),
        ("refine", "model.weights=nothing.pt", "nothing.pt: no such weights"),
        ("refine", "model.architecture=resnet50", "expected weights of resnet50, found demo's; use model=demo"),
        ("refine", "model.skeleton=coco17", "expected weights for the keypoints of coco17, found posetrack15's"),
        ("refine", "model.input=confident_discs", "expected weights of input=confident_discs, found discs"),
        ("refine", "model.skeleton=coco71", "unknown skeleton 'coco71': expected one of posetrack15, posetrack18, coc"),
        ("refine", "model=resnet101", "model/snapshot-515000.safetensors: the published weights are not here"),
        ("refine", "model=resnet101 model.weights=null", "model.weights is not set; add model.weights=FILE"),
        ("refine", "objective=moat", "objective=moat: there is no such objective; expected one of map, mota, rescore"),
        ("refine", "objective.keep=70", "objective.keep=70: expected less than 1"),
        ("refine", "objective.score=both", "objective.score=both: expected 'input', 'network' or 'product'"),
        ("refine", "iterations=6", "iterations=6: expected less than or equal to 5"),
        ("refine", "flip=maybe", "flip=maybe: expected a valid boolean"),
        ("refine", "precision=fp64", "precision=fp64: expected 'auto', 'fp32', 'tf32', 'bf16' or 'fp16'"),
        ("refine", "device=gpu", "device=gpu: expected auto, cpu, cuda or cuda:INDEX"),
        ("refine", "dataset.predictions=???", "poses is not set; add poses=VALUE"),
        ("refine", "dataset=sample dataset.images=null", f"poses={PREDICTIONS}: dataset=sample is the bundled clips; "),
        ("refine", "dataset=sample", "for files of your own add dataset=auto"),
        ("refine", "dataset.annotatoins=a", "no setting 'dataset.annotatoins'; did you mean dataset.annotations?"),
        ("refine", "datset=sample", "there is no setting 'datset'; did you mean dataset?"),
        ("refine", "zzz=1", "there is no setting 'zzz'; --help lists the settings"),
        ("refine", "a b c", "'c': expected POSES IMAGES NAME=VALUE"),
        ("train", "a", "'a': expected NAME=VALUE; --help"),
        ("train", "augmentation.scale=[1.15,0.85]", "expected the smaller factor first"),
        ("train", "augmentation.scale=[1,1e9]", "augmentation.scale.1=1000000000.0: expected less than or equal"),
        ("train", "augmentation.scale=1.5", "augmentation.scale=1.5: expected a list"),
        ("train", "augmentation.shift=nan", "augmentation.shift=nan: expected"),
        ("train", "augmentation.mirror=maybe", "augmentation.mirror=maybe: expected a valid number"),
        ("train", "augmentation._target_=text", "augmentation: text cannot be built (No module named 'text')"),
        ("train", "augmentation._target_=5", "augmentation._target_=5: expected the name of a class"),
        ("train", "canvas=[1000000000,64]", "canvas.0=1000000000: expected less than or equal to 8192"),
        ("train", "canvas=[64]", "canvas=[64]: List should have at least 2 items"),
        ("train", "canvas={}", "canvas: the value is not of the type that this setting has"),
        ("train", "dataset.validation.frames=1e-30", "expected a valid integer"),
        ("train", "dataset=auto dataset.predictions=a", "nothing to train on in it; use dataset=synthetic"),
        ("train", "dataset=alphapose", "dataset=alphapose: nothing to train on in it; use dataset=synthetic"),
        ("train", "optimizer=adam", "optimizer=adam: there is no such optimizer; expected one of adamw, sgd"),
        ("train", "optimizer.weight_decay=-5", "optimizer: Invalid weight_decay value: -5"),
        ("train", "+optimizer.odd=1", "optimizer: "),
        ("train", "optimizer._partial_=false", "optimizer: torch.optim.AdamW cannot be built"),
        ("train", "optimizer._partial_=inf", "optimizer._partial_=inf: expected true or false"),
        ("train", "model=[0,0]", "expected one name for a group of settings"),
        ("train", "model.weights=none.safetensors", "none.safetensors: no such weights"),
        (
            "train",
            "model.input=confident_discs model.weights=${asset:demo.safetensors}",
            "expected weights of input=confident_discs, found discs",
        ),
        ("train", "pose_errors.jitter.head=-1", "pose_errors.jitter.head=-1: expected greater than or equal to 0"),
        ("train", "pose_errors.miss.hip=???", f"expected a probability for each of {KINDS}; found head, shoulder"),
        ("train", "seed=1000000000000000000000000000000", "expected less than 9223372036854775808"),
        ("train", "training.accumulate=3", "batch_size=4: expected a multiple of 3"),
        ("train", "training.batch_norm=cold", "training.batch_norm=cold: expected 'live' or 'frozen'"),
        ("train", "training.ema=2", "expected less than 1"),
        ("train", "training.epochs=nan", "training.epochs=nan: expected"),
        ("train", "training.epochs=3", "training.steps=4 and training.epochs=3: expected one of the two; set the"),
        ("train", "training.steps=null training.epochs=3", "training.epochs=3: dataset=synthetic has no end; set"),
        ("train", "training.max_gradient_norm=inf", "expected a finite number"),
        ("train", "output_dir=" + "a" * 300, "File name too long"),
        ("train", "dataset=posetrack18", "data/posetrack_data_v2/annotations/train: no such file or folder; expected"),
        (
            "train",
            "dataset=posetrack18 training.steps=null dataset.training.annotations=${asset:sample/annotations}",
            "dataset=posetrack18: how long to train is not set; take a recipe, such as +experiment=modern_1gpu",
        ),
        ("train", "dataset=posetrack18 dataset.training.anotations=a", "did you mean dataset.training.annotations?"),
        ("train", "dataset=posetrack18 dataset.training.images=1.5", "images=1.5: expected an instance of ImageSource"),
        ("train", "dataset=posetrack18 dataset.training.images._target_=true", "true: expected the name of a class"),
        ("train", "schedule=steps schedule.until=[1,2]", "expected 4 rising steps, one for each of the rates"),
        ("train", "schedule=steps schedule.until=[4,3,2,1]", "expected 4 rising steps, one for each of the rates"),
        ("evaluate", "dataset.format.location=5", "dataset.format.location=5: expected a valid string"),
        ("evaluate", "dataset=odd", "dataset=odd: there is no such dataset; expected one of alphapose, auto, coco"),
        *[
            (command, words, expected)
            for command in ("evaluate", "learn-errors")
            for words, expected in (
                ("dataset.annotations=null", "annotations is not set; add annotations="),
                ("dataset.predictions=???", "poses is not set; add poses=VALUE"),
                ("dataset.annotations=/no/where", "/no/where: no such file or folder"),
                ("dataset=posetrack17", "'annolist'"),
            )
        ],
        ("learn-errors", "output=learnt.yaml", "learnt.yaml: expected a .yaml file in a folder named pose_errors"),
        ("learn-errors", "output=pose_errors/plausible.yaml", "hpr has pose_errors of that name"),
        ("learn-errors", "output=/proc/pose_errors/a.yaml", "/proc/pose_errors/a.yaml: cannot be written"),
        ("convert", "poses=/no/where", "/no/where: no such file or folder"),
        ("convert", "format=cocoo", "unknown format 'cocoo': expected one of auto, posetrack18"),
        ("convert", "format=auto", "format=auto: expected the name of a format to write"),
        ("convert", "input_format=mpii", "clip.json"),
        ("convert", "output=clip.json overwrite=true", "clip.json: these are the poses to be converted; set another"),
        ("convert", "format=ultralytics_labels", "set images"),
        ("visualize", "poses=/no/where", "/no/where: no such file or folder"),
        ("visualize", "images=/no/where", "/no/where: expected /no/where/"),
        ("visualize", "refined=/no/where", "/no/where: no such file or folder"),
        ("visualize", "every=0", "every=0: expected greater than or equal to 1"),
        ("visualize", "min_score=2", "min_score=2: expected less than or equal to 1"),
        ("visualize", "colour=red", "colour=red: expected 'side', 'person' or 'track'"),
        ("visualize", "layout=top", "layout=top: expected 'side', 'blend' or 'single'"),
        ("visualize", "format=cocoo", "unknown format 'cocoo'"),
        ("export", "model=photo output=a.onnx", "expected a network of input=discs, found gaussians"),
        ("make-sample", "clips", "'clips': expected NAME=VALUE"),
        ("make-sample", "width=" + "x" * 3000, "width=xxxxx"),
        ("make-sample", "output_dir=null", "output_dir=null: expected a valid string"),
        ("make-sample", "pose_errors=1e9", "Config group override must be a string or a list"),
        ("port", "--config-dir /no/where", "--config-dir /no/where: no such folder"),
        ("port", "--config-dir", "argument --config-dir: expected one argument"),
        ("port", "--verbose", "'--verbose': expected NAME=VALUE; --help lists the settings"),
        ("refin", "", "there is no command 'refin'; did you mean refine?"),
        ("zzz", "", "there is no command 'zzz'; expected one of refine, train, evaluate"),
    ],
)
def test_refused(command: str, words: str, expected: str, tmp_path: Path) -> None:
    shutil.copy(PREDICTIONS / "seq_b.json", tmp_path / "clip.json")
    message = fail(command, *PLAIN.get(command, []), *words.split(), cwd=tmp_path)
    assert expected in message
    assert len(message) < 400
    if command != "train":  # which opens its folder before it draws the validation
        assert [path.name for path in tmp_path.iterdir()] == ["clip.json"]
