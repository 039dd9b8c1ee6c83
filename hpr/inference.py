"""The engine: images and estimated poses in, refined poses out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hpr import maps
from hpr.crops import Crop, person_crop
from hpr.errors import UserError
from hpr.models.loading import load_network
from hpr.models.refiner import Refiner
from hpr.models.resnet import ConvNorm
from hpr.poses import FloatArray
from hpr.skeleton import NUM_JOINTS

PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Outcome(Enum):
    """What became of a pose."""

    REFINED = "refined"
    NO_JOINTS = "no joint to start from"
    CROP_SIZE = "crop above 3,000,000 pixels, or empty"
    BAD_IMAGE = "image missing or unreadable"


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
class Sample:
    """One person as the network sees them.

    Attributes:
        crop: Where the pixels are from.
        pixels: (h, w, 3) RGB.
        joints: (15, 2) in crop_xy, NaN where missing.
    """

    crop: Crop
    pixels: NDArray[np.uint8]
    joints: FloatArray


class PoseRefiner:
    """Refines estimated poses with a trained network.

    >>> refiner = PoseRefiner.load("model/snapshot-515000.safetensors")
    >>> poses = refiner(image_rgb, joints_xy)
    """

    def __init__(self, network: Refiner, device: str = "auto", precision: str = "fp32", flip: bool = True) -> None:
        """Prepares a network for inference; the network itself is changed.

        Args:
            network: With trained weights.
            device: "cpu", "cuda", "cuda:1" and the like, or "auto" for CUDA where it is.
            precision: "fp32" (on CUDA, too: without TF32), "tf32", "bf16" or "fp16".
            flip: Average with the mirror image's part probabilities, as published.

        Raises:
            UserError: There is no such device or precision.
        """
        if precision not in PRECISIONS:
            raise UserError(f"precision={precision}: expected one of {', '.join(PRECISIONS)}")
        self.device = select_device(device)
        self.precision = precision
        self.flip = flip
        self._network = network.eval().requires_grad_(False)
        fold_batch_norms(self._network)
        self._network.to(self.device).to(memory_format=torch.channels_last)
        self._network.compute_in(PRECISIONS[precision])

    @property
    def device_name(self) -> str:
        """The model of the GPU, or "cpu"."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", precision: str = "fp32", flip: bool = True) -> "PoseRefiner":
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
        confidence = np.full(joints.shape[:2], np.nan)
        outcomes = []
        for i, pose in enumerate(joints):
            sample = prepare(image, pose, self._network.mean_head)
            if isinstance(sample, Outcome):
                outcomes.append(sample)
                continue
            crop_xy, confidence[i] = self._predict(sample)
            joints[i] = sample.crop.to_image(crop_xy)
            joints[i, ~(confidence[i] > threshold)] = np.nan
            outcomes.append(Outcome.REFINED)
        return RefinedPoses(joints, confidence, outcomes)

    @torch.inference_mode()
    def _predict(self, sample: Sample) -> tuple[FloatArray, FloatArray]:
        """Returns joints (15, 2) in crop_xy and their confidence (15,)."""
        pixels = torch.from_numpy(sample.pixels).to(self.device)
        image = pixels.permute(2, 0, 1)[None].float()  # (h, w, 3) -> (1, 3, h, w)
        discs = maps.draw(torch.from_numpy(sample.joints)[None].to(self.device), *sample.pixels.shape[:2])
        inputs = torch.cat([image, discs], dim=1)  # (1, 18, h, w)
        if self.flip:
            inputs = torch.cat([inputs, torch.cat([image.flip(-1), maps.mirror(discs)], dim=1)])
        with fp32_arithmetic(tf32=self.precision == "tf32"):
            logits, offsets = self._network(inputs.contiguous(memory_format=torch.channels_last))
        probabilities = logits.float().sigmoid()
        if self.flip:
            probabilities = (probabilities[:1] + maps.mirror(probabilities[1:])) / 2
        joints, confidence = maps.decode(probabilities, offsets[:1].float())
        return joints[0].cpu().numpy(), confidence[0].double().cpu().numpy()


def prepare(image: NDArray[np.uint8], joints: FloatArray, mean_head: float) -> Sample | Outcome:
    """Cuts out what the network needs of one person.

    Args:
        image: (H, W, 3) RGB.
        joints: (15, 2) in image pixels, NaN where missing.
        mean_head: Of the network (`architectures.Architecture`).

    Returns:
        The person, or why the pose cannot be refined.
    """
    if np.isnan(joints).all():
        return Outcome.NO_JOINTS
    crop = person_crop(joints, (image.shape[1], image.shape[0]), mean_head)
    if crop is None:
        return Outcome.CROP_SIZE
    return Sample(crop, crop.pixels(image), crop.to_crop(joints))


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
