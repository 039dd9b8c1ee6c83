"""The engine: images and estimated poses in, refined poses out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hpr import maps
from hpr.batching import Batch, Sample, group
from hpr.crops import person_crop
from hpr.errors import UserError
from hpr.models.loading import load_network
from hpr.models.refiner import Refiner
from hpr.models.resnet import ConvNorm
from hpr.poses import FloatArray
from hpr.skeleton import NUM_JOINTS

_GPU_BATCH_PIXELS = 12_000_000
_BATCHES_IN_WINDOW = 4
"""So many batches' people are held in memory to bring those of like size together."""

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Outcome(Enum):
    """What became of a pose."""

    REFINED = "refined"
    NO_JOINTS = "no joint to start from"
    CROP_SIZE = "crop above 3,000,000 pixels, or empty"
    BAD_IMAGE = "image missing or unreadable"
    MEMORY = "crop too large for the device's memory"


@dataclass(frozen=True)
class RefinedPoses:
    """The refined poses of N people in one image.

    Attributes:
        joints: (N, 15, 2) in image pixels, NaN for joints that are not kept; a pose that was not
            refined is as it was.
        confidence: (N, 15) the network's probability of each joint, also of those not kept; NaN for a
            pose that was not refined.
        outcomes: N, what became of each pose.
    """

    joints: FloatArray
    confidence: FloatArray
    outcomes: list[Outcome]


@dataclass(frozen=True)
class Pose:
    """One refined pose.

    Attributes:
        joints: (15, 2) in image pixels.
        confidence: (15,) the network's probability of each.
    """

    joints: FloatArray
    confidence: FloatArray


@dataclass(frozen=True)
class _Prediction:
    """What the network made of some of a list of people; on the device, and perhaps still to be computed.

    Attributes:
        numbers: Places of the B people in the list.
        joints: (B, 15, 2) in crop_xy.
        confidence: (B, 15).
    """

    numbers: list[int]
    joints: Tensor
    confidence: Tensor


class PoseRefiner:
    """Refines estimated poses with a trained network.

    >>> refiner = PoseRefiner.load("model/snapshot-515000.safetensors")
    >>> poses = refiner(image_rgb, joints_xy)
    """

    def __init__(
        self,
        network: Refiner,
        device: str = "auto",
        precision: str = "auto",
        flip: bool = True,
        batch_pixels: int | None = None,
    ) -> None:
        """Prepares a network for inference; the network itself is changed.

        Args:
            network: With trained weights.
            device: "cpu", "cuda", "cuda:1" and the like, or "auto" for CUDA where it is.
            precision: "fp32" (on CUDA, too: without TF32), "tf32", "bf16" or "fp16"; or "auto" for TF32 on CUDA, which
                changed no score of the demo sample (docs/performance.md), and fp32 on a CPU.
            flip: Average with the mirror image's part probabilities, as published.
            batch_pixels: People are put together in batches of up to so many pixels of their crops; by default,
                what a GPU is busy with, and one person at a time on a CPU, which one keeps busy.

        Raises:
            UserError: There is no such device or precision.
        """
        if precision not in ("auto", *DTYPES):
            raise UserError(f"precision={precision}: expected one of auto, {', '.join(DTYPES)}")
        self.device = select_device(device)
        on_gpu = self.device.type == "cuda"
        self.precision = precision if precision != "auto" else "tf32" if on_gpu else "fp32"
        self.flip = flip
        self.batch_pixels = (_GPU_BATCH_PIXELS if on_gpu else 0) if batch_pixels is None else batch_pixels
        self._network = network.eval().requires_grad_(False)
        fold_batch_norms(self._network)
        self._network.to(self.device).to(memory_format=torch.channels_last)
        self._dtype = DTYPES[self.precision]
        self._network.compute_in(self._dtype)

    @property
    def device_name(self) -> str:
        """The model of the GPU, or "cpu"."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", precision: str = "auto", flip: bool = True) -> "PoseRefiner":
        """Loads weights written by `tools/port_tf_weights.py` or `train.py`; for the rest see the constructor.

        Raises:
            UserError: The weights are absent, damaged or not a refiner's.
        """
        return cls(load_network(Path(path)), device, precision, flip)

    def __call__(self, image: NDArray[np.uint8], joints: FloatArray, threshold: float = 0.0) -> RefinedPoses:
        """Refines the poses of the people in one image, each on its own.

        Args:
            image: (H, W, 3) RGB, 0 to 255.
            joints: (N, 15, 2) x and y in image pixels in the order of `skeleton.JOINTS`; NaN where missing.
            threshold: Joints are kept if their confidence is above this: 0.7 for a high MOTA, 0 for mAP.

        Raises:
            ValueError: An argument is of another shape or type.
        """
        joints = np.array(joints, np.float64)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image: expected uint8 of shape (H, W, 3), found {image.dtype} of shape {image.shape}")
        if joints.ndim != 3 or joints.shape[1:] != (NUM_JOINTS, 2):
            raise ValueError(f"joints: expected shape (N, {NUM_JOINTS}, 2), found {joints.shape}")
        joints[~np.isfinite(joints).all(axis=-1)] = np.nan
        people = (self.prepare(image, pose) for pose in joints)
        return gather(joints, list(self.refine(people)), threshold)

    def prepare(self, image: NDArray[np.uint8], joints: FloatArray) -> Sample | Outcome:
        """Cuts out what the network needs of one person. May be called from several threads.

        Args:
            image: (H, W, 3) RGB.
            joints: (15, 2) in image pixels, NaN where missing.

        Returns:
            The person, or why the pose cannot be refined.
        """
        if np.isnan(joints).all():
            return Outcome.NO_JOINTS
        crop = person_crop(joints, (image.shape[1], image.shape[0]), self._network.mean_head)
        if crop is None:
            return Outcome.CROP_SIZE
        return Sample(crop, crop.pixels(image), crop.to_crop(joints))

    def refine(self, people: Iterable[Sample | Outcome]) -> Iterator[Pose | Outcome]:
        """Refines any number of people, those of like size together.

        Args:
            people: From `prepare`. A GPU's next few batches of them are held in memory.

        Yields:
            The pose of each, in the same order, or why there is none.
        """
        window: list[Sample | Outcome] = []
        pixels = 0
        for person in people:
            window.append(person)
            pixels += person.area if isinstance(person, Sample) else 0
            if pixels >= _BATCHES_IN_WINDOW * self.batch_pixels:
                yield from self._refine_together(window)
                window, pixels = [], 0
        yield from self._refine_together(window)

    def _refine_together(self, people: list[Sample | Outcome]) -> list[Pose | Outcome]:
        samples = {number: person for number, person in enumerate(people) if isinstance(person, Sample)}
        # Whoever is left without a pose in the end was too much for the device's memory.
        poses: list[Pose | Outcome] = [Outcome.MEMORY if isinstance(person, Sample) else person for person in people]
        under_way: list[_Prediction] = []
        for batch in group(samples, self.batch_pixels):
            # The next batch is brought to the device before the results of the last are waited for.
            launched = self._predict_in_parts(samples, batch)
            _collect(under_way, samples, poses)
            under_way = launched
        _collect(under_way, samples, poses)
        return poses

    def _predict_in_parts(self, samples: Mapping[int, Sample], numbers: list[int]) -> list[_Prediction]:
        """Runs the network on some of the samples, in parts if they are too many for the device's memory."""
        try:
            return [_Prediction(numbers, *self.predict(Batch([samples[i] for i in numbers], self.device)))]
        except torch.OutOfMemoryError:
            pass  # the memory is free once this block has ended
        torch.cuda.empty_cache()
        if len(numbers) == 1:
            return []
        self.batch_pixels //= 2
        half = len(numbers) // 2
        return self._predict_in_parts(samples, numbers[:half]) + self._predict_in_parts(samples, numbers[half:])

    @torch.inference_mode()
    def predict(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns joints (B, 15, 2) in crop_xy and their confidence (B, 15), on the device."""
        inputs = batch.inputs()
        masks = None if batch.fills_canvas else batch.masks()
        if self.flip:
            inputs = torch.cat([inputs, batch.mirrored_inputs(inputs)])  # (2 * B, 18, H, W)
            masks = None if masks is None else [torch.cat([mask, mask]) for mask in masks]
        image, inside = (None, None) if masks is None else (masks[0], [m.to(self._dtype) for m in masks[1:]])
        with fp32_arithmetic(tf32=self.precision == "tf32"):
            logits, offsets = self._network(inputs.contiguous(memory_format=torch.channels_last), image, inside)
        parts = logits.float().sigmoid()
        if self.flip:
            straight, mirrored = parts.chunk(2)
            parts = (straight + batch.mirrored_parts(mirrored)) / 2
            offsets = offsets.chunk(2)[0]
        return maps.decode(batch.without_border(parts), offsets.float())


def gather(joints: FloatArray, refined: Sequence[Pose | Outcome], threshold: float) -> RefinedPoses:
    """Puts the refined poses of N people together.

    Args:
        joints: (N, 15, 2) their poses before.
        refined: What became of each.
        threshold: Joints are kept if their confidence is above this.
    """
    joints, confidence = joints.copy(), np.full(joints.shape[:2], np.nan)
    outcomes = []
    for i, pose in enumerate(refined):
        if isinstance(pose, Outcome):
            outcomes.append(pose)
            continue
        joints[i] = np.where((pose.confidence > threshold)[:, None], pose.joints, np.nan)
        confidence[i] = pose.confidence
        outcomes.append(Outcome.REFINED)
    return RefinedPoses(joints, confidence, outcomes)


def _collect(predictions: list[_Prediction], samples: Mapping[int, Sample], poses: list[Pose | Outcome]) -> None:
    """Waits for predictions and puts the poses into their places."""
    for prediction in predictions:
        joints, confidence = prediction.joints.cpu().numpy(), prediction.confidence.double().cpu().numpy()
        for i, number in enumerate(prediction.numbers):
            poses[number] = Pose(samples[number].crop.to_image(joints[i]), confidence[i])


def select_device(name: str) -> torch.device:
    """Returns the device of that name; "auto" is CUDA where there is a usable GPU, else the CPU.

    Raises:
        UserError: There is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name}: expected auto, cpu, cuda or cuda:INDEX") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device={name}: PyTorch sees {torch.cuda.device_count()} CUDA devices here; use device=cpu")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={name}: expected auto, cpu, cuda or cuda:INDEX")
    return device


@contextmanager
def fp32_arithmetic(tf32: bool) -> Iterator[None]:
    """Makes convolutions and products of fp32 tensors on CUDA compute in TF32, or really in fp32.

    PyTorch's own default is TF32 for convolutions: three decimal digits.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32):
        matmul.allow_tf32 = tf32
        try:
            yield
        finally:
            matmul.allow_tf32 = before


def fold_batch_norms(module: nn.Module) -> None:
    """Replaces every convolution with batch norm by one convolution with a bias that computes the same."""
    for name, child in module.named_children():
        if isinstance(child, ConvNorm):
            setattr(module, name, fuse_conv_bn_eval(child.conv, child.norm))
        else:
            fold_batch_norms(child)
