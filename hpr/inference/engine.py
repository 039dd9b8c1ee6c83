"""The engine: images and estimated poses in, refined poses out."""

import copy
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpr import heatmaps
from hpr.crops import MIN_CROP_SIDE, person_crop, person_scale
from hpr.images import Image
from hpr.inference.batching import PersonCrop, collate, group
from hpr.models.loading import load_network
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.poses import FloatArray
from hpr.runtime.device import device_name, select_device
from hpr.runtime.precision import dtype_of, fp32_arithmetic, select_precision
from hpr.skeleton import Skeleton

_GPU_BATCH_PIXELS = 12_000_000
_BATCHES_IN_WINDOW = 4
"""Batches buffered so that people of similar size can be grouped."""


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
    """

    key: Hashable
    keypoints: FloatArray
    confidence: FloatArray


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

        Raises:
            UserError: There is no such device or precision.
        """
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
    def load(cls, path: str | Path, device: str = "auto", precision: str = "auto", flip: bool = True) -> "PoseRefiner":
        """Loads weights written by `tools/port_tf_weights.py` or `train.py`; for the rest see the constructor.

        Raises:
            UserError: The weights are absent, damaged or not a refiner's.
        """
        return cls(load_network(Path(path)), device, precision, flip)

    def __call__(self, image: Image, keypoints: FloatArray, threshold: float = 0.0) -> RefinedPoses:
        """Refines the poses of the people in one image, each on its own.

        Args:
            image: (H, W, 3) RGB, 0 to 255.
            keypoints: (N, K, 2) x and y in image pixels in the order of `skeleton`; NaN where missing.
            threshold: Keypoints are kept if their confidence is above this: 0.7 for a high MOTA, 0 for mAP.

        Raises:
            ValueError: An argument is of another shape or type.
        """
        keypoints, expected = np.array(keypoints, np.float64), f"(N, {len(self.skeleton)}, 2)"
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image: expected uint8 of shape (H, W, 3), found {image.dtype} of shape {image.shape}")
        if keypoints.ndim != 3 or keypoints.shape[1:] != (len(self.skeleton), 2):
            raise ValueError(f"keypoints: expected shape {expected}, found {keypoints.shape}")
        keypoints[~np.isfinite(keypoints).all(axis=-1)] = np.nan

        people = (self.prepare(image, pose, number) for number, pose in enumerate(keypoints))
        refined = {result.key: result for result in self.refine(people)}
        return gather(keypoints, [refined[number] for number in range(len(keypoints))], threshold)

    def prepare(self, image: Image, pose: FloatArray, key: Hashable) -> PersonCrop | PassedThrough:
        """Cuts out what the network needs of one person. May be called from several threads.

        Args:
            image: (H, W, 3) RGB.
            pose: (K, 2) in image pixels, NaN where missing.
            key: Whose it is.

        Returns:
            The person's crop, or why the pose cannot be refined.
        """
        if np.isnan(pose).all():
            return PassedThrough(key, Outcome.NO_KEYPOINTS)
        scale = person_scale(pose, self.skeleton, self._network.mean_head)
        if min(image.shape[:2]) < MIN_CROP_SIDE:
            return PassedThrough(key, Outcome.TINY_IMAGE)
        crop = person_crop(pose, (image.shape[1], image.shape[0]), scale)
        if crop is None:
            return PassedThrough(key, Outcome.CROP_SIZE)
        keypoints = crop.to_crop(pose)
        if not heatmaps.any_disc(keypoints, crop.height, crop.width):  # the network would invent a pose
            return PassedThrough(key, Outcome.OUTSIDE)
        return PersonCrop(key, crop, crop.pixels(image), keypoints)

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
            return [_Launched(people, *self.predict(collate(people, self._network, self.device)))]
        except torch.OutOfMemoryError:
            pass  # the memory is free once this block has ended
        torch.cuda.empty_cache()
        if len(people) == 1:
            return [PassedThrough(people[0].key, Outcome.MEMORY)]
        self.batch_pixels //= 2
        half = len(people) // 2
        return self._launch(people[:half]) + self._launch(people[half:])

    @torch.inference_mode()
    def predict(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """Returns keypoints (B, K, 2) in crop_xy and their confidence (B, K), on the device."""
        network = self._network
        both = batch.followed_by(network.mirror_inputs(batch)) if self.flip else batch
        inputs = both.with_tensors(both.tensors.contiguous(memory_format=torch.channels_last))
        with fp32_arithmetic(tf32=self.precision == "tf32"):
            logits, offsets = network(inputs)

        parts = logits.float().sigmoid()
        if self.flip:
            straight, mirrored = parts.chunk(2)
            parts = (straight + network.mirror_heatmaps(mirrored, batch)) / 2
            offsets = offsets.chunk(2)[0]
        if batch.is_padded:  # no keypoint is to be found beyond the crop's border
            own = heatmaps.rectangles(network.heatmap_size(batch.sizes), *parts.shape[2:])  # (B, 1, h, w)
            parts = parts.masked_fill(~own, -1.0)
        return heatmaps.decode(parts, offsets.float())


def gather(keypoints: FloatArray, results: Sequence[RefinedPose | PassedThrough], threshold: float) -> RefinedPoses:
    """Puts the refined poses of N people together.

    Args:
        keypoints: (N, K, 2) their poses before.
        results: What became of each.
        threshold: Keypoints are kept if their confidence is above this.
    """
    keypoints, confidence = keypoints.copy(), np.full(keypoints.shape[:2], np.nan)
    outcomes = []
    for i, result in enumerate(results):
        if isinstance(result, PassedThrough):
            outcomes.append(result.outcome)
            continue
        keypoints[i] = np.where((result.confidence > threshold)[:, None], result.keypoints, np.nan)
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
                yield RefinedPose(person.key, person.crop.to_image(places), probabilities)
            else:
                yield PassedThrough(person.key, Outcome.NOT_FINITE)
