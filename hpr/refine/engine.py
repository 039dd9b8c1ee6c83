"""The engine: images and estimated poses in, refined poses out."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, get_args, overload

import numpy as np
import torch

from hpr import codec
from hpr.crops import (
    MARGIN,
    MIN_CROP_SIDE,
    ScaleRule,
    ScaleSetting,
    body_scale,
    canvas_crop,
    person_boxes,
    person_crop,
    person_scale,
    scale_rule,
)
from hpr.images import Image
from hpr.models.checkpoints import load_network
from hpr.models.network import Prediction, Refiner
from hpr.models.padding import PaddedBatch
from hpr.poses import FloatArray, Frame, FrameKey
from hpr.refine.batching import (
    STANDARD_HEAD,
    PersonCrop,
    any_disc_inside,
    collate,
    default_batch_pixels,
    group,
    masked_batch,
    separate,
    windows,
)
from hpr.refine.inputs import AnyImage, Numbers, as_frames, is_single
from hpr.refine.merge import apply_refined
from hpr.refine.objective import Objective, objective_of
from hpr.refine.results import Outcome, PersonKey, RefinedPose, RefinedPoses
from hpr.runtime.device import select_device
from hpr.runtime.memory import keep_freed_memory
from hpr.runtime.precision import DTYPES, fp32_arithmetic, select_precision
from hpr.skeleton import Skeleton, SkeletonLike

_MIN_CONFIDENCE = 0.3
"""Further iterations start from keypoints above this confidence: starting from all makes poses worse."""


class PoseRefiner:
    """Refines estimated poses with a trained network.

    Example, with the weights and a clip of drawn people that come with the package:

    >>> from hpr import PoseRefiner
    >>> from hpr.formats import PoseTrack18
    >>> from hpr.models.places import ASSETS
    >>> refiner = PoseRefiner.load("demo", device="cpu")
    >>> refiner
    PoseRefiner(posetrack15, device='cpu', precision='fp32', flip=True, scale='auto', iterations=1, margin=250.0)
    >>> clip = PoseTrack18().read(ASSETS / "sample/predictions/clip_0002_0001.json")[0]
    >>> frame = clip.frames[0]
    >>> image = ASSETS / "sample" / frame.image
    >>> refiner(image, frame.keypoints, scores=frame.scores, skeleton="posetrack18")
    RefinedPoses(5 x 17 keypoints: 5 refined)
    """

    def __init__(
        self,
        network: Refiner,
        device: str = "auto",
        precision: str = "auto",
        flip: bool = True,
        batch_pixels: int | None = None,
        scale: ScaleSetting = "auto",
        iterations: int = 1,
        margin: float = MARGIN,
    ) -> None:
        """Prepares a copy of a network for inference.

        On a CPU, this process then keeps the memory that it has freed (`runtime.memory`), which halves the time.

        Args:
            network: With trained weights; it is not changed.
            device: "cpu", "cuda", "cuda:1" etc., or "auto" for CUDA if available.
            precision: "fp32" (on CUDA as well: without TF32), "tf32", "bf16" or "fp16"; or "auto" for TF32 on CUDA,
                which changed no score of the demo sample (docs/performance.md), and fp32 on a CPU.
            flip: Average with the mirror image's part probabilities, as published.
            batch_pixels: Limit for the pixels of the crops in a batch. By default, enough to keep a GPU busy; on a CPU,
                which one person keeps busy, batches of one, or of eight for the photograph refiner.
            scale: How people are measured: "published", by the head, which needs head_bottom and head_top; "body", by
                all limbs, for poses without these, such as COCO's; or "auto", by the head if poses have both ends of
                it. It plays no part for the photograph refiner, and neither does `margin`.
            iterations: How often a pose goes through the network; each further pass starts from the confident keypoints
                of the previous one, on the same crop.
            margin: Pixels around a person's keypoints that the network sees, at the network's standard size. Less is
                faster, but leaves less room for keypoints that lie outside of the others.

        Raises:
            UserError: There is no such device or precision.
            ValueError: There is no such scale rule, or `iterations` is below 1.
        """
        if scale not in (rules := ("auto", *get_args(ScaleRule))):
            raise ValueError(f"scale: expected one of {', '.join(rules)}; found {scale!r}")
        if iterations < 1:
            raise ValueError(f"iterations: expected 1 or more; found {iterations}")
        self.scale, self.iterations, self.margin, self.flip = scale, iterations, margin, flip
        # A network that sees scores makes more of an uncertain keypoint than of none (docs/notes/photo.md).
        self.default_min_score = 0.0 if network.sees_scores else 0.2
        self.device = select_device(device)
        self.precision = select_precision(precision, self.device)
        self.batch_pixels = default_batch_pixels(self.device, network) if batch_pixels is None else batch_pixels

        if self.device.type == "cpu":
            keep_freed_memory()
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        self._network.fold_batch_norms()
        self._network.to(self.device).to(memory_format=torch.channels_last)
        self._network.compute_in(DTYPES[self.precision])

    @classmethod
    def load(cls, weights: str | Path, device: str = "auto", precision: str = "auto", **settings: Any) -> "PoseRefiner":
        """Loads weights.

        Args:
            weights: "photo", the photograph refiner; "published", the paper's weights, ported by `hpr port`; "demo",
                for drawn people; or the path of a file that `hpr port` or `hpr train` wrote.
            device: As for the constructor.
            precision: As for the constructor.
            **settings: As for the constructor.

        Raises:
            UserError: The weights are absent, damaged or not a refiner's.
        """
        return cls(load_network(weights), device, precision, **settings)

    def __repr__(self) -> str:
        """Returns the network's skeleton and the settings."""
        names = ("precision", "flip", "scale", "iterations", "margin")
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"PoseRefiner({self.skeleton.name}, device={str(self.device)!r}, {settings})"

    @property
    def skeleton(self) -> Skeleton:
        """The network's skeleton."""
        return self._network.skeleton

    @property
    def canvas(self) -> tuple[int, int] | None:
        """Height and width of the network's crops, or None where each person's are as large as they need."""
        return self._network.canvas

    @property
    def device_name(self) -> str:
        """The model of the GPU, or "cpu"."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    @overload
    def __call__(
        self,
        image: AnyImage,
        keypoints: Numbers,
        *,
        scores: Numbers | None = ...,
        boxes: Numbers | None = ...,
        person_scores: Numbers | None = ...,
        skeleton: SkeletonLike | None = ...,
        objective: Objective | str = ...,
        min_score: float | None = ...,
    ) -> RefinedPoses: ...

    @overload
    def __call__(
        self,
        image: Sequence[AnyImage],
        keypoints: Sequence[Numbers],
        *,
        scores: Sequence[Numbers | None] | None = ...,
        boxes: Sequence[Numbers | None] | None = ...,
        person_scores: Sequence[Numbers | None] | None = ...,
        skeleton: SkeletonLike | None = ...,
        objective: Objective | str = ...,
        min_score: float | None = ...,
    ) -> list[RefinedPoses]: ...

    def __call__(
        self,
        image: AnyImage | Sequence[AnyImage],
        keypoints: Any,
        *,
        scores: Any = None,
        boxes: Any = None,
        person_scores: Any = None,
        skeleton: SkeletonLike | None = None,
        objective: Objective | str = "map",
        min_score: float | None = None,
    ) -> RefinedPoses | list[RefinedPoses]:
        """Refines the poses of the people in one image or several; each person is refined independently.

        Arrays may have any type of numbers, and be tensors on any device or nested lists. For several images, the other
        arguments of people are lists as well, with one item for each image.

        >>> import numpy as np
        >>> from hpr import PoseRefiner
        >>> refiner = PoseRefiner.load("photo", device="cpu")
        >>> image = np.zeros((120, 90, 3), np.uint8)
        >>> keypoints = np.full((1, 17, 2), np.nan, np.float32)
        >>> keypoints[0, :3] = [[40, 50], [45, 45], [35, 45]]  # nose and eyes
        >>> refined = refiner(image, keypoints, skeleton="coco17", objective="rescore")
        >>> refined.keypoints.shape, refined.confidence.shape, refined.outcomes
        ((1, 17, 2), (1, 17), [<Outcome.REFINED: 'refined'>])

        Args:
            image: (H, W, 3) RGB, 0 to 255; also grey, with alpha or floats from 0 to 1, a tensor (C, H, W), a picture
                of Pillow or a path; or a list of several.
            keypoints: (N, K, 2) x and y in image pixels, NaN where missing; anything empty is nobody. At (0, 0), one
                with a score of 0 is missing; any other is refused, since many estimators mean a missing one by it.
            scores: (N, K) scores of the keypoints, 0 to 1, NaN where there is none. The published network does not use
                them.
            boxes: (N, 4) x0, y0, x1, y1 of the people, NaN where unknown, around which the photograph refiner looks; by
                default around the keypoints.
            person_scores: (N,) scores of the people, NaN where there is none, for objectives that rescore.
            skeleton: Skeleton of the keypoints: a `Skeleton`, its name, or the keypoints' names; by default the
                network's. Keypoints unknown to the network are returned unchanged, without a confidence.
            objective: Which keypoints are kept and how they are scored: "map" keeps all, "mota" those with a confidence
                above 0.7, "rescore" nearly all, with scores times confidences; or an `hpr.Objective`, whose
                `iterations` play no part here.
            min_score: Keypoints of a lower score are missing for the network, and come back as they were where it does
                not find them. By default 0 for networks that see scores, as the photograph refiner, 0.2 for others.

        Returns:
            The poses in `skeleton`. People who cannot be refined keep their keypoints; `outcomes` says why.

        Raises:
            UserError: There is no skeleton or objective of that name, or no image at a path.
            ValueError: An argument has a wrong shape or type.
        """
        min_score = self.default_min_score if min_score is None else min_score
        rule, own = objective_of(objective), self.skeleton if skeleton is None else skeleton
        people = {"keypoints": keypoints, "scores": scores, "boxes": boxes, "person_scores": person_scores}
        images, frames = as_frames(image, own, **people)

        keys = [[PersonKey(FrameKey(0, i), person) for person in range(len(frame))] for i, frame in enumerate(frames)]
        seen = [frame.without_uncertain(min_score) for frame in frames]
        crops = (
            self.crop_person(pixels, pose, key, scale, pose_scores, box)
            for pixels, frame, frame_keys in zip(images, seen, keys, strict=True)
            for key, pose, pose_scores, scale, box in zip(frame_keys, *self.network_poses(frame), strict=True)
        )
        results = {result.key: result for result in self.refine_crops(crops)}

        refined = []
        for frame, frame_keys in zip(frames, keys, strict=True):
            proposed = RefinedPoses.stack([results[key] for key in frame_keys], self.skeleton)
            after = apply_refined(frame, proposed, self.skeleton, rule, min_score).in_skeleton(frame.skeleton)
            refined.append(replace(proposed, keypoints=after.keypoints, confidence=after.confidences, frame=after))
        return refined[0] if is_single(image) else refined

    def network_poses(self, frame: Frame) -> tuple[FloatArray, FloatArray, list[float], FloatArray]:
        """Returns poses (N, K, 2) and scores (N, K) in the network's skeleton, N scales and boxes (N, 4).

        They are for `crop_person`. The "body" scale and boxes around keypoints use all keypoints of the frame, also
        those unknown to the network.
        """
        poses = frame.skeleton.convert(frame.poses, self.skeleton)
        scores = frame.skeleton.convert(frame.scores, self.skeleton)

        if scale_rule(self.scale, frame.skeleton, self.skeleton) == "body":
            people = zip(frame.poses, frame.boxes, strict=True)
            scales = [body_scale(pose, frame.skeleton, box, self._network.mean_head) for pose, box in people]
        else:
            scales = [person_scale(pose, self.skeleton, self._network.mean_head) for pose in poses]
        return poses, scores, scales, person_boxes(frame.poses, frame.boxes)

    def crop_person(
        self,
        image: Image,
        pose: FloatArray,
        key: PersonKey,
        scale: float | None = None,
        scores: FloatArray | None = None,
        box: FloatArray | None = None,
        reduction: int = 1,
    ) -> PersonCrop | RefinedPose:
        """Makes what the network sees of one person, or an outcome if the pose cannot be refined; thread-safe.

        Args:
            image: (H, W, 3) RGB.
            pose: (K, 2) in image pixels, NaN where missing.
            key: Which person.
            scale: The person's scale, from `network_poses`; by default from the pose alone.
            scores: (K,) of the keypoints, NaN where there is none.
            box: (4,) of the person, from `network_poses`; by default around the keypoints.
            reduction: What the image's sides were divided by, without a remainder.
        """
        if np.isnan(pose).all():
            return RefinedPose(key, Outcome.NO_KEYPOINTS)
        image_size = (image.shape[1] * reduction, image.shape[0] * reduction)
        if min(image_size) < MIN_CROP_SIDE:
            return RefinedPose(key, Outcome.TINY_IMAGE)

        if scale is None:
            person_size = body_scale if scale_rule(self.scale, self.skeleton) == "body" else person_scale
            scale = person_size(pose, self.skeleton, mean_head=self._network.mean_head)
        if self.canvas is None:
            crop = person_crop(pose, image_size, scale, self.margin)
        else:
            if box is None:
                (box,) = person_boxes(pose[None], np.full((1, 4), np.nan))
            crop = canvas_crop(box, image_size, self.canvas)
        if crop is None:
            return RefinedPose(key, Outcome.CROP_SIZE if self.canvas is None else Outcome.OUTSIDE)

        keypoints = crop.to_crop(pose)
        size = torch.tensor([[crop.height, crop.width]])
        if not any_disc_inside(torch.from_numpy(keypoints)[None], size).item():  # the network would invent a pose
            return RefinedPose(key, Outcome.OUTSIDE)
        return PersonCrop(key, crop, crop.pixels(image), keypoints, scores, STANDARD_HEAD * crop.scale / scale)

    def refine_crops(self, people: Iterable[PersonCrop | RefinedPose]) -> Iterator[RefinedPose]:
        """Yields the result of each person from `crop_person`, in no particular order.

        Crops for a few batches are held in memory, so that those of similar size are refined together.
        """
        for window in windows(people, self.batch_pixels):
            if isinstance(window, RefinedPose):
                yield window
            else:
                yield from self._refine_window(window)

    def _refine_window(self, people: list[PersonCrop]) -> Iterator[RefinedPose]:
        previous: list[Iterable[RefinedPose]] = []
        for batch in group(people, self.batch_pixels, self._network.backbone.placement_room):
            # A GPU computes this batch while the results of the previous one are collected.
            launched = self._launch(batch)
            yield from chain(*previous)
            previous = launched
        yield from chain(*previous)

    def _launch(self, people: list[PersonCrop]) -> list[Iterable[RefinedPose]]:
        """Runs the network on a batch of people, in halves if the device has too little memory for all.

        Returns:
            The results of each part, which wait for the device when they are iterated over.
        """
        try:
            with torch.autocast(self.device.type, enabled=False):  # the program's own does not change the precision
                return [separate(people, self._predict_all(collate(people, self._network, self.device)))]
        except torch.OutOfMemoryError:
            pass  # the memory is free only after this block

        torch.cuda.empty_cache()
        if len(people) == 1:
            return [[RefinedPose(people[0].key, Outcome.MEMORY)]]
        self.batch_pixels //= 2
        half = len(people) // 2
        return self._launch(people[:half]) + self._launch(people[half:])

    @torch.inference_mode()
    def _predict_all(self, batch: PaddedBatch) -> Prediction:
        """Returns what `predict` does after all iterations; without a confident keypoint the last result stands."""
        pixels, kind = batch.tensors[:, :3].permute(0, 2, 3, 1), self._network.input_kind  # (B, H, W, 3)
        keypoints, confidence, support = self.predict(batch)
        for _ in range(self.iterations - 1):
            start = keypoints.double().masked_fill(~(confidence > _MIN_CONFIDENCE)[..., None], torch.nan)
            has_start = any_disc_inside(start, batch.sizes)[:, None]  # (B, 1)
            scores = confidence.double()
            again = masked_batch(pixels, start, batch.sizes, batch.starts, batch.is_padded, kind, scores)
            next_keypoints, next_confidence, _ = self.predict(again)

            keypoints = torch.where(has_start[..., None], next_keypoints, keypoints)
            confidence = torch.where(has_start, next_confidence, confidence)
        return Prediction(keypoints, confidence, support)

    @torch.inference_mode()
    def predict(self, batch: PaddedBatch) -> Prediction:
        """Returns the poses of a batch after one pass, on the device."""
        network = self._network
        inputs = batch.followed_by(network.mirror_inputs(batch)) if self.flip else batch
        with fp32_arithmetic(tf32=self.precision == "tf32"):
            logits, offsets = network(inputs)

        parts, offsets = logits.float().sigmoid(), offsets.float()
        if self.flip:
            straight, mirrored = parts.chunk(2)
            parts = (straight + network.mirror_heatmaps(mirrored, batch)) / 2
            offsets = offsets[: len(straight)]

        if batch.is_padded:  # no keypoint is to be found beyond a crop's border
            is_inside = codec.rectangles(network.heatmap_size(batch.sizes), *parts.shape[2:])  # (B, 1, h, w)
            parts = parts.masked_fill(~is_inside, -1.0)
        return network.decode(parts, offsets, batch.tensors[:, 3:])
