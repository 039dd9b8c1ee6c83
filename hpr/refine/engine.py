"""The engine: images and estimated poses in, refined poses out."""

import copy
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, overload

import numpy as np
import torch
from torch import Tensor

from hpr import codec
from hpr.crops import MARGIN, MIN_CROP_SIDE, ScaleRule, body_scale, person_crop, person_scale
from hpr.images import Image
from hpr.refine.batching import PersonCrop, any_inside, collate, group, with_keypoints
from hpr.models.loading import load_network
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.refine.objective import Objective
from hpr.poses import FloatArray, Frame
from hpr.runtime.device import device_name, select_device
from hpr.runtime.precision import dtype_of, fp32_arithmetic, select_precision
from hpr.skeleton import Skeleton, SkeletonLike, skeleton_of

_GPU_BATCH_PIXELS = 12_000_000
_BATCHES_IN_WINDOW = 4
"""Batches buffered so that people of similar size can be grouped."""

_SURE = 0.3
"""Keypoints that a further pass starts from have a confidence above this: from all of them it makes poses worse."""


class Outcome(Enum):
    """What became of a pose."""

    REFINED = "refined"
    NO_KEYPOINTS = "no joint to start from"
    CROP_SIZE = "crop above 3,000,000 pixels, or empty"
    OUTSIDE = "no joint in or near the image"
    TINY_IMAGE = "image under 8 pixels in width or height"
    BAD_IMAGE = "image missing or unreadable"
    MEMORY = "crop too large for the device's memory"
    NOT_FINITE = "network output not finite"


FAILURES = frozenset({Outcome.BAD_IMAGE, Outcome.MEMORY, Outcome.NOT_FINITE})
"""Outcomes of poses that should have been refined and were not."""


@dataclass(frozen=True)
class RefinedPose:
    """One refined pose.

    Attributes:
        key: Whose it is.
        keypoints: (K, 2) in image pixels.
        confidence: (K,) the network's probability of each.
        head_size: Of the person, in image pixels (`Crop.head_size`).
    """

    key: Hashable
    keypoints: FloatArray
    confidence: FloatArray
    head_size: float


@dataclass(frozen=True)
class PassedThrough:
    """A pose that stays as it was.

    Attributes:
        key: Whose it is.
        outcome: Why.
        detail: What is wrong with the image, say; empty where the outcome says it all.
    """

    key: Hashable
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class RefinedPoses:
    """The refined poses of N people in one image.

    Attributes:
        keypoints: (N, K, 2) in image pixels, NaN for those that are not kept; a pose that was not refined is as it
            was.
        confidence: (N, K) the network's probability of each keypoint, also of those not kept; NaN for a pose that was
            not refined.
        outcomes: N, what became of each pose.
    """

    keypoints: FloatArray
    confidence: FloatArray
    outcomes: list[Outcome]


@dataclass(frozen=True)
class _Launched:
    """What the network makes of a batch; on the device, and perhaps still to be computed.

    Attributes:
        people: B of them.
        keypoints: (B, K, 2) in crop_xy.
        confidence: (B, K).
    """

    people: list[PersonCrop]
    keypoints: Tensor
    confidence: Tensor


class PoseRefiner:
    """Refines estimated poses with a trained network.

    >>> refiner = PoseRefiner.load("model/snapshot-515000.safetensors")
    >>> poses = refiner(image_rgb, keypoints_xy)
    """

    def __init__(
        self,
        network: Refiner,
        device: str = "auto",
        precision: str = "auto",
        flip: bool = True,
        batch_pixels: int | None = None,
        scale: ScaleRule = "published",
        iterations: int = 1,
        margin: float = MARGIN,
    ) -> None:
        """Prepares a copy of a network for inference.

        Args:
            network: With trained weights; it stays as it is.
            device: "cpu", "cuda", "cuda:1" and the like, or "auto" for CUDA where it is.
            precision: "fp32" (on CUDA, too: without TF32), "tf32", "bf16" or "fp16"; or "auto" for TF32 on CUDA, which
                changed no score of the demo sample (docs/performance.md), and fp32 on a CPU.
            flip: Average with the mirror image's part probabilities, as published.
            batch_pixels: People are put together in batches of up to so many pixels of their crops; by default,
                what a GPU is busy with, and one person at a time on a CPU, which one keeps busy.
            scale: "published", by the head, which needs head_bottom and head_top; or "body", by all limbs, for poses
                without them, such as COCO's.
            iterations: How often a pose goes through the network: each further pass starts from the sure keypoints of
                the one before, on the same crop.
            margin: Pixels around a person's keypoints that the network sees, at the network's standard size: less takes
                less time, and leaves less room for keypoints that lie outside of the others.

        Raises:
            UserError: There is no such device or precision.
            ValueError: There is no such rule of scale, or not one pass.
        """
        if scale not in get_args(ScaleRule):
            raise ValueError(f"scale: expected one of {', '.join(get_args(ScaleRule))}; found {scale!r}")
        if iterations < 1:
            raise ValueError(f"iterations: expected 1 or more; found {iterations}")
        self.scale = scale
        self.iterations, self.margin = iterations, margin
        self.device = select_device(device)
        self.precision = select_precision(precision, self.device)
        self.flip = flip
        default_pixels = _GPU_BATCH_PIXELS if self.device.type == "cuda" else 0
        self.batch_pixels = default_pixels if batch_pixels is None else batch_pixels
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        self._network.backbone.fold_batch_norms()
        self._network.to(self.device).to(memory_format=torch.channels_last)
        self._network.compute_in(dtype_of(self.precision))

    @property
    def skeleton(self) -> Skeleton:
        """Of the poses that the network refines."""
        return self._network.skeleton

    @property
    def device_name(self) -> str:
        """The model of the GPU, or "cpu"."""
        return device_name(self.device)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        precision: str = "auto",
        flip: bool = True,
        scale: ScaleRule = "published",
        iterations: int = 1,
    ) -> "PoseRefiner":
        """Loads weights written by `tools/port_tf_weights.py` or `train.py`; for the rest see the constructor.

        Raises:
            UserError: The weights are absent, damaged or not a refiner's.
        """
        return cls(load_network(Path(path)), device, precision, flip, scale=scale, iterations=iterations)

    @overload
    def __call__(
        self,
        image: Image,
        keypoints: FloatArray,
        threshold: float = ...,
        skeleton: SkeletonLike | None = ...,
        add_threshold: float | None = ...,
        scores: FloatArray | None = ...,
    ) -> RefinedPoses: ...

    @overload
    def __call__(
        self,
        image: Sequence[Image],
        keypoints: Sequence[FloatArray],
        threshold: float = ...,
        skeleton: SkeletonLike | None = ...,
        add_threshold: float | None = ...,
        scores: Sequence[FloatArray] | None = ...,
    ) -> list[RefinedPoses]: ...

    def __call__(
        self,
        image: Image | Sequence[Image],
        keypoints: FloatArray | Sequence[FloatArray],
        threshold: float = 0.0,
        skeleton: SkeletonLike | None = None,
        add_threshold: float | None = None,
        scores: FloatArray | Sequence[FloatArray] | None = None,
    ) -> RefinedPoses | list[RefinedPoses]:
        """Refines the poses of the people in one image or several, each on its own.

        Args:
            image: (H, W, 3) RGB, 0 to 255; or several such images.
            keypoints: (N, K, 2) x and y in image pixels, NaN where missing; of several images, such an array for each.
            threshold: Keypoints are kept if their confidence is above this: 0.7 for a high MOTA, 0 for mAP.
            skeleton: Of the keypoints: a skeleton, its name, or the keypoints' names; by default the network's. Those
                that the network does not know come back as they were, without a confidence.
            add_threshold: Keypoints that were missing are added if their confidence is above this; by default above
                `threshold`.
            scores: (N, K) of the keypoints, 0 to 1, NaN where there is none; of several images, such an array for each.
                Networks of which `input_kind` is "confident_discs" look at them.

        Raises:
            UserError: There is no skeleton of that name.
            ValueError: An argument is of another shape or type.
        """
        own = self.skeleton if skeleton is None else skeleton_of(skeleton)
        is_one = isinstance(image, np.ndarray)
        images: list[Any] = [image] if is_one else list(image)
        given: list[Any] = [keypoints] if is_one else list(keypoints)
        if len(images) != len(given):
            raise ValueError(f"keypoints: expected an array for each of the {len(images)} images, found {len(given)}")
        poses = [_checked(picture, pose, own) for picture, pose in zip(images, given, strict=True)]

        objective = Objective(keep=threshold, add=threshold if add_threshold is None else add_threshold)
        sure: list[Any] = [None] * len(poses) if scores is None else [scores] if is_one else list(scores)
        sure = [_checked_scores(values, pose) for values, pose in zip(sure, poses, strict=True)]
        people = self._people(images, poses, sure, own)
        results = {result.key: result for result in self.refine(people)}
        refined = [
            self._gathered(pose, own, [results[number, person] for person in range(len(pose))], objective)
            for number, pose in enumerate(poses)
        ]
        return refined[0] if is_one else refined

    def _people(
        self,
        images: Sequence[Image],
        poses: Sequence[FloatArray],
        scores: Sequence[FloatArray],
        skeleton: Skeleton,
    ) -> Iterator[PersonCrop | PassedThrough]:
        """Yields what the network needs of the people with poses (N, K, 2) and their scores (N, K) in some images."""
        for number, (image, own) in enumerate(zip(images, poses, strict=True)):
            scales, sure = self.scales(Frame("", skeleton, own)), skeleton.convert(scores[number], self.skeleton)
            for person, pose in enumerate(skeleton.convert(own, self.skeleton)):
                yield self.prepare(image, pose, (number, person), scales[person], sure[person])

    def _gathered(
        self, poses: FloatArray, own: Skeleton, results: Sequence[RefinedPose | PassedThrough], objective: Objective
    ) -> RefinedPoses:
        """Returns the results for the people with poses (N, K, 2), in the order of their own skeleton."""
        refined = gather(own.convert(poses, self.skeleton), results, objective)
        known = self.skeleton.mapping_to(own) >= 0  # (K,)
        keypoints = np.where(known[:, None], self.skeleton.convert(refined.keypoints, own), poses)
        return RefinedPoses(keypoints, self.skeleton.convert(refined.confidence, own), refined.outcomes)

    def scales(self, frame: Frame) -> list[float]:
        """Returns the scale of each person in a frame.

        By the body, it is from all keypoints of the frame, also from those that the network does not know.
        """
        if self.scale == "body":
            people = zip(frame.poses, frame.boxes, strict=True)
            return [body_scale(pose, frame.skeleton, box, self._network.mean_head) for pose, box in people]
        return [self._scale(pose) for pose in frame.skeleton.convert(frame.poses, self.skeleton)]

    def _scale(self, pose: FloatArray) -> float:
        """Returns the scale of a person by what the network knows of them, (K, 2)."""
        if self.scale == "body":
            return body_scale(pose, self.skeleton, mean_head=self._network.mean_head)
        return person_scale(pose, self.skeleton, self._network.mean_head)

    def prepare(
        self,
        image: Image,
        pose: FloatArray,
        key: Hashable,
        scale: float | None = None,
        scores: FloatArray | None = None,
    ) -> PersonCrop | PassedThrough:
        """Cuts out what the network needs of one person. May be called from several threads.

        Args:
            image: (H, W, 3) RGB.
            pose: (K, 2) in image pixels, NaN where missing.
            key: Whose it is.
            scale: Of the person, from `scales`; by default from the pose alone.
            scores: (K,) of the keypoints, NaN where there is none.

        Returns:
            The person's crop, or why the pose cannot be refined.
        """
        if np.isnan(pose).all():
            return PassedThrough(key, Outcome.NO_KEYPOINTS)
        if min(image.shape[:2]) < MIN_CROP_SIDE:
            return PassedThrough(key, Outcome.TINY_IMAGE)
        scale = self._scale(pose) if scale is None else scale
        crop = person_crop(pose, (image.shape[1], image.shape[0]), scale, self.margin)
        if crop is None:
            return PassedThrough(key, Outcome.CROP_SIZE)
        keypoints = crop.to_crop(pose)
        if not codec.any_disc(keypoints, crop.height, crop.width):  # the network would invent a pose
            return PassedThrough(key, Outcome.OUTSIDE)
        return PersonCrop(key, crop, crop.pixels(image), keypoints, scores)

    def refine(self, people: Iterable[PersonCrop | PassedThrough]) -> Iterator[RefinedPose | PassedThrough]:
        """Refines any number of people, those of like size together.

        Args:
            people: From `prepare`. A GPU's next few batches of them are held in memory.

        Yields:
            The result of each, with its key, in no particular order.
        """
        window: list[PersonCrop] = []
        pixels = 0
        for person in people:
            if isinstance(person, PassedThrough):
                yield person
                continue
            window.append(person)
            pixels += person.area
            if pixels >= _BATCHES_IN_WINDOW * self.batch_pixels:
                yield from self._refine_window(window)
                window, pixels = [], 0
        yield from self._refine_window(window)

    def _refine_window(self, people: list[PersonCrop]) -> Iterator[RefinedPose | PassedThrough]:
        under_way: list[_Launched | PassedThrough] = []
        for batch in group(people, self.batch_pixels, self._network.backbone.placement_room):
            # The next batch is brought to the device before the results of the last are waited for.
            launched = self._launch(batch)
            yield from _collected(under_way)
            under_way = launched
        yield from _collected(under_way)

    def _launch(self, people: list[PersonCrop]) -> list[_Launched | PassedThrough]:
        """Runs the network on a batch of people, in halves if they are too many for the device's memory."""
        try:
            return [_Launched(people, *self._predict_all(collate(people, self._network, self.device)))]
        except torch.OutOfMemoryError:
            pass  # the memory is free once this block has ended
        torch.cuda.empty_cache()
        if len(people) == 1:
            return [PassedThrough(people[0].key, Outcome.MEMORY)]
        self.batch_pixels //= 2
        half = len(people) // 2
        return self._launch(people[:half]) + self._launch(people[half:])

    @torch.inference_mode()
    def _predict_all(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """Returns what `predict` does, after all passes.

        The last result stands for those of whom nothing that a further pass could start from is sure and in the crop.
        """
        keypoints, confidence = self.predict(batch)
        for _ in range(self.iterations - 1):
            sure = keypoints.double().masked_fill(~(confidence > _SURE)[..., None], torch.nan)
            goes_on = any_inside(batch, sure)[:, None]  # (B, 1)
            again = with_keypoints(batch, sure, self._network.input_kind, confidence.double())
            places, probabilities = self.predict(again)
            keypoints = torch.where(goes_on[..., None], places, keypoints)
            confidence = torch.where(goes_on, probabilities, confidence)
        return keypoints, confidence

    @torch.inference_mode()
    def predict(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """Returns keypoints (B, K, 2) in crop_xy and their confidence (B, K), on the device."""
        network = self._network
        both = batch.followed_by(network.mirror_inputs(batch)) if self.flip else batch
        inputs = both.with_tensors(both.tensors.contiguous(memory_format=torch.channels_last))
        with fp32_arithmetic(tf32=self.precision == "tf32"):
            logits, offsets = network(inputs)

        parts, offsets = logits.float().sigmoid(), offsets.float()
        if not self.flip:
            return self._decoded(parts, offsets, batch)
        straight, mirrored = parts.chunk(2)
        mean = (straight + network.mirror_heatmaps(mirrored, batch)) / 2
        return self._decoded(mean, offsets[: len(straight)], batch)

    def _decoded(self, parts: Tensor, offsets: Tensor, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """Reads poses off the maps of a batch; no keypoint is to be found beyond a crop's border."""
        if batch.is_padded:
            own = codec.rectangles(self._network.heatmap_size(batch.sizes), *parts.shape[2:])  # (B, 1, h, w)
            parts = parts.masked_fill(~own, -1.0)
        return codec.decode(parts, offsets)


def _checked(image: Image, keypoints: FloatArray, skeleton: Skeleton) -> FloatArray:
    """Returns the poses (N, K, 2) of an image's people, with NaN for all that is not finite.

    Raises:
        ValueError: The image or the poses are of another shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image: expected uint8 of shape (H, W, 3), found {image.dtype} of shape {image.shape}")
    poses = np.array(keypoints, np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (len(skeleton), 2):
        raise ValueError(f"keypoints: expected shape (N, {len(skeleton)}, 2), found {poses.shape}")
    poses[~np.isfinite(poses).all(axis=-1)] = np.nan
    return poses


def _checked_scores(scores: FloatArray | None, poses: FloatArray) -> FloatArray:
    """Returns the scores (N, K) of poses (N, K, 2), NaN where there are none.

    Raises:
        ValueError: They are of another shape.
    """
    if scores is None:
        return np.full(poses.shape[:2], np.nan)
    values = np.array(scores, np.float64)
    if values.shape != poses.shape[:2]:
        raise ValueError(f"scores: expected shape {poses.shape[:2]}, found {values.shape}")
    return values


def gather(keypoints: FloatArray, results: Sequence[RefinedPose | PassedThrough], objective: Objective) -> RefinedPoses:
    """Puts the refined poses of N people together.

    Args:
        keypoints: (N, K, 2) their poses before, NaN where missing.
        results: What became of each.
        objective: Which keypoints are kept, and which are added.
    """
    needed = np.where(np.isnan(keypoints[..., 0]), objective.add, objective.keep)  # (N, K)
    keypoints, confidence = keypoints.copy(), np.full(keypoints.shape[:2], np.nan)
    outcomes = []
    for i, result in enumerate(results):
        if isinstance(result, PassedThrough):
            outcomes.append(result.outcome)
            continue
        keypoints[i] = np.where((result.confidence > needed[i])[:, None], result.keypoints, np.nan)
        confidence[i] = result.confidence
        outcomes.append(Outcome.REFINED)
    return RefinedPoses(keypoints, confidence, outcomes)


def _collected(launched: list[_Launched | PassedThrough]) -> Iterator[RefinedPose | PassedThrough]:
    """Waits for results and brings them back to the images."""
    for batch in launched:
        if isinstance(batch, PassedThrough):
            yield batch
            continue
        keypoints, confidence = batch.keypoints.cpu().numpy(), batch.confidence.double().cpu().numpy()
        for person, places, probabilities in zip(batch.people, keypoints, confidence, strict=True):
            if np.isfinite(places).all() and np.isfinite(probabilities).all():
                yield RefinedPose(person.key, person.crop.to_image(places), probabilities, person.crop.head_size)
            else:
                yield PassedThrough(person.key, Outcome.NOT_FINITE)
