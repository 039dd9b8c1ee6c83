"""Skeletons: the names of a pose's keypoints, from which everything about their order is derived."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hpr.errors import UserError


@dataclass(frozen=True)
class Skeleton:
    """The keypoints of a pose, in order.

    Attributes:
        names: One name for each keypoint; those of a side begin with "left_" or "right_".
        limbs: Pairs of names that a drawing connects.
        sigmas: One number for each keypoint: the spread of careful annotators relative to the person's size, as in
            COCO's object keypoint similarity (docs/formats.md, section 1).
        name: Name of the skeleton in configurations and weight files.
    """

    names: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]
    sigmas: tuple[float, ...]
    name: str = "custom"

    def __post_init__(self) -> None:
        """Checks that the attributes fit together.

        Raises:
            ValueError: They do not.
        """
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"skeleton {self.name}: expected every keypoint once, found {', '.join(self.names)}")
        if len(self.sigmas) != len(self.names):
            found = f"{len(self.sigmas)} for {len(self.names)} keypoints"
            raise ValueError(f"skeleton {self.name}: expected one sigma for each keypoint, found {found}")
        unknown = {name for limb in self.limbs for name in limb} - set(self.names)
        if unknown:
            raise ValueError(f"skeleton {self.name}: its limbs name {', '.join(sorted(unknown))}, not a keypoint of it")

    def __len__(self) -> int:
        """Returns the number of keypoints, K."""
        return len(self.names)

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def __contains__(self, name: object) -> bool:
        return name in self._indices

    def index(self, name: str) -> int:
        """Returns the index of a keypoint; a KeyError says that there is none."""
        return self._indices[name]

    def indices(self, *names: str) -> list[int]:
        """Returns the indices of several keypoints."""
        return [self._indices[name] for name in names]

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """Index of each keypoint's counterpart on the other side; its own index for one on the body's axis."""
        return tuple(self._indices.get(mirrored(name), index) for index, name in enumerate(self.names))

    @cached_property
    def adjacent(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the keypoints that limbs connect each keypoint with."""
        ends = [*self.limb_indices, *((b, a) for a, b in self.limb_indices)]
        return tuple(tuple(b for a, b in ends if a == index) for index in range(len(self)))

    @cached_property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        """The limbs as pairs of keypoint indices."""
        return tuple((self.index(a), self.index(b)) for a, b in self.limbs)

    def mapping_to(self, other: "Skeleton") -> NDArray[np.int64]:
        """Returns (K',), the index here of each keypoint of another skeleton, by name; -1 where there is none."""
        return np.array([self._indices.get(name, -1) for name in other.names], np.int64)

    def convert(self, values: NDArray[np.float64], other: "Skeleton", missing: float = np.nan) -> NDArray[np.float64]:
        """Brings values of this skeleton's keypoints into another skeleton's order.

        Args:
            values: (N, K, ...).
            other: Skeleton of K' keypoints.
            missing: Value of the keypoints that only the other skeleton has.

        Returns:
            (N, K', ...), a copy.
        """
        if self.names == other.names:
            return values.copy()

        mapping = self.mapping_to(other)  # (K',)
        converted = np.full((len(values), len(other), *values.shape[2:]), missing)
        converted[:, mapping >= 0] = values[:, mapping[mapping >= 0]]
        return converted

    def joined(self, other: "Skeleton") -> "Skeleton":
        """Returns this skeleton followed by the keypoints that only another skeleton has."""
        new = [index for index, name in enumerate(other.names) if name not in self]
        if not new:
            return self

        known = {frozenset(limb) for limb in self.limbs}
        return Skeleton(
            (*self.names, *(other.names[index] for index in new)),
            (*self.limbs, *(limb for limb in other.limbs if frozenset(limb) not in known)),
            (*self.sigmas, *(other.sigmas[index] for index in new)),
            f"{self.name}+{other.name}",
        )


def mirrored(name: str) -> str:
    """Returns the name of a keypoint's counterpart on the other side; the same name on the body's axis."""
    side, _, rest = name.partition("_")
    return {"right": f"left_{rest}", "left": f"right_{rest}"}.get(side, name)


def kind(name: str) -> str:
    """Returns a keypoint's name without its side."""
    return name.removeprefix("left_").removeprefix("right_")


# COCO's sigmas by kind of keypoint. COCO has no head ends: theirs are CrowdPose's for head and neck. Thorax and pelvis
# have the sigmas of the keypoints beside them, feet those of COCO-WholeBody's left foot.
_SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
    "head_bottom": 0.079,
    "head_top": 0.079,
    "thorax": 0.079,
    "pelvis": 0.107,
    "big_toe": 0.068,
    "small_toe": 0.066,
    "heel": 0.066,
}

_OTHER_SIGMA = 0.079
"""Sigma of keypoints that no skeleton here has: a shoulder's, which is between wrist and hip."""

_ARMS_AND_LEGS = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("right", "left")
    for a, b in (("ankle", "knee"), ("knee", "hip"), ("hip", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist"))
)
_HIPS = (("right_hip", "left_hip"),)
_HEAD = (
    ("right_shoulder", "head_bottom"),
    ("left_shoulder", "head_bottom"),
    ("head_bottom", "nose"),
    ("nose", "head_top"),
)
_FACE = (("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"))
_SPINE = (
    *(("pelvis", "thorax"), ("thorax", "head_bottom"), ("head_bottom", "head_top")),
    *(("right_shoulder", "thorax"), ("left_shoulder", "thorax"), ("right_hip", "pelvis"), ("left_hip", "pelvis")),
)
_FEET = tuple(
    (f"{side}_ankle", f"{side}_{end}") for side in ("right", "left") for end in ("big_toe", "small_toe", "heel")
)
_NECK = (("thorax", "nose"), ("left_shoulder", "thorax"), ("right_shoulder", "thorax"))


def _skeleton(name: str, names: str, limbs: tuple[tuple[str, str], ...]) -> Skeleton:
    keypoints = tuple(names.split())
    return Skeleton(keypoints, limbs, _sigmas(keypoints), name)


def _sigmas(names: Sequence[str]) -> tuple[float, ...]:
    return tuple(_SIGMAS.get(kind(name), _OTHER_SIGMA) for name in names)


POSETRACK15 = _skeleton(
    "posetrack15",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow right_shoulder "
    "left_shoulder left_elbow left_wrist head_bottom nose head_top",
    (*_ARMS_AND_LEGS, *_HEAD, *_HIPS),
)
"""PoseTrack 2017, and the published network (docs/published.md, section 1)."""

POSETRACK18 = _skeleton(
    "posetrack18",
    "nose head_bottom head_top left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
    (*_ARMS_AND_LEGS, *_HEAD, *_HIPS),
)
"""PoseTrack 2018 and 2021; their files leave the ears empty."""

COCO17 = _skeleton(
    "coco17",
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
    (*_ARMS_AND_LEGS, *_FACE, ("left_shoulder", "right_shoulder"), *_HIPS),
)

MPII16 = _skeleton(
    "mpii16",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax head_bottom head_top right_wrist "
    "right_elbow right_shoulder left_shoulder left_elbow left_wrist",
    (*_ARMS_AND_LEGS, *_SPINE),
)
"""MPII; its "upper neck" is what PoseTrack calls head_bottom."""

CROWDPOSE14 = _skeleton(
    "crowdpose14",
    "left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip right_hip left_knee "
    "right_knee left_ankle right_ankle head_top head_bottom",
    (*_ARMS_AND_LEGS, *(limb for limb in _HEAD if "nose" not in limb), ("head_bottom", "head_top"), *_HIPS),
)
"""CrowdPose; its "head" is what PoseTrack calls head_top, its "neck" head_bottom."""

OPENPOSE18 = _skeleton(
    "openpose18",
    "nose thorax right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear",
    (*_ARMS_AND_LEGS, *_FACE, *_NECK, *_HIPS),
)
"""OpenPose's COCO model; its "neck" is the middle of the shoulders, which MPII calls thorax."""

BODY25 = _skeleton(
    "body25",
    "nose thorax right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist pelvis right_hip "
    "right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe "
    "left_small_toe left_heel right_big_toe right_small_toe right_heel",
    (*_ARMS_AND_LEGS, *_FACE, *_NECK, ("right_hip", "pelvis"), ("left_hip", "pelvis"), ("pelvis", "thorax"), *_FEET),
)
"""OpenPose's BODY_25; its "neck" as in OPENPOSE18."""

HALPE26 = _skeleton(
    "halpe26",
    f"{' '.join(COCO17.names)} head_top head_bottom pelvis left_big_toe right_big_toe left_small_toe right_small_toe "
    "left_heel right_heel",
    (*_ARMS_AND_LEGS, *_HEAD, *_FACE, ("right_hip", "pelvis"), ("left_hip", "pelvis"), *_FEET),
)
"""AlphaPose's Halpe body; its "head" is what PoseTrack calls head_top, its "neck" head_bottom."""

_FACE_POINTS = " ".join(f"face_{index}" for index in range(68))
_HANDS = " ".join(f"{side}_hand_{index}" for side in ("left", "right") for index in range(21))

HALPE68 = _skeleton("halpe68", f"{' '.join(HALPE26.names)} {_HANDS}", HALPE26.limbs)
HALPE136 = _skeleton("halpe136", f"{' '.join(HALPE26.names)} {_FACE_POINTS} {_HANDS}", HALPE26.limbs)
"""All of Halpe, without and with the face."""

WHOLEBODY133 = _skeleton(
    "wholebody133",
    f"{' '.join(COCO17.names)} left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel "
    f"{_FACE_POINTS} {_HANDS}",
    (*COCO17.limbs, *_FEET),
)
"""COCO-WholeBody."""

BODY25B = _skeleton(
    "body25b",
    f"{' '.join(COCO17.names)} head_bottom head_top left_big_toe left_small_toe left_heel right_big_toe "
    "right_small_toe right_heel",
    (*_ARMS_AND_LEGS, *_HEAD, *_FACE, *_HIPS, *_FEET),
)
"""OpenPose's BODY_25B."""

MPI15 = _skeleton(
    "mpi15",
    "head_top head_bottom right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip "
    "right_knee right_ankle left_hip left_knee left_ankle chest",
    (*_ARMS_AND_LEGS, ("head_top", "head_bottom"), ("head_bottom", "chest")),
)
"""OpenPose's MPI model, which was trained on MPII; its "head" is the top, its "neck" the upper neck."""

AIC14 = _skeleton(
    "aic14",
    "right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee right_ankle "
    "left_hip left_knee left_ankle head_top head_bottom",
    CROWDPOSE14.limbs,
)
"""AI Challenger; its "neck" is what PoseTrack calls head_bottom."""

H36M17 = _skeleton(
    "h36m17",
    "pelvis right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax neck_base head left_shoulder "
    "left_elbow left_wrist right_shoulder right_elbow right_wrist",
    (*_ARMS_AND_LEGS, ("pelvis", "spine"), ("spine", "thorax"), ("thorax", "neck_base"), ("neck_base", "head")),
)
"""Human3.6M; estimators place its "head" between the eyes and the top, so that it is no head_top."""

PHOTO19 = _skeleton(
    "photo19", f"{' '.join(COCO17.names)} head_bottom head_top", (*_ARMS_AND_LEGS, *_HEAD, *_FACE, *_HIPS)
)
"""The photograph refiner: the keypoints of COCO, PoseTrack and MPII but for MPII's pelvis and thorax."""

_ALL = (
    *(POSETRACK15, POSETRACK18, COCO17, MPII16, CROWDPOSE14, AIC14, OPENPOSE18, BODY25, BODY25B, MPI15),
    *(HALPE26, HALPE68, HALPE136, WHOLEBODY133, H36M17, PHOTO19),
)
SKELETONS = {skeleton.name: skeleton for skeleton in _ALL}

_OTHER_SKELETON_NAMES = {"coco18": "openpose18", "posetrack17": "posetrack18", "cocowholebody133": "wholebody133"}


def _squeezed(name: str) -> str:
    """Returns a name in small letters, without blanks, hyphens and underscores."""
    return re.sub(r"[\W_]+", "", name).lower()


def _spellings() -> dict[str, str]:
    """Returns the names of all keypoints by their squeezed spellings: LEye, eye_left and "Left Eye" are one."""
    found = {
        **{"upperneck": "head_bottom", "neck": "neck", "hip": "hip"},
        **dict.fromkeys(("tophead", "topofhead"), "head_top"),
        **dict.fromkeys(("midhip", "hips", "root", "hipcenter", "centerhip"), "pelvis"),
    }
    sided = ("left_hand", "left_foot", "right_hand", "right_foot")  # of data sets without wrists or ankles
    for name in dict.fromkeys((*sided, *(name for skeleton in _ALL for name in skeleton.names))):
        side, body = name.partition("_")[0], _squeezed(kind(name))
        is_sided = side in ("left", "right")
        own = [f"{side}{body}", f"{side[0]}{body}", f"{body}{side}", f"{body}{side[0]}"] if is_sided else [body]
        found |= dict.fromkeys(own, name)
    for side in ("left", "right"):  # as MMPose calls the keypoints of a hand
        found[f"{side}handroot"] = f"{side}_hand_0"
        for i, finger in enumerate(("thumb", "forefinger", "middlefinger", "ringfinger", "pinkyfinger")):
            found |= {f"{side}{finger}{j}": f"{side}_hand_{4 * i + j}" for j in range(1, 5)}
    return found


_SPELLINGS = _spellings()
_FOOT_ENDS = {"left_foot": "left_ankle", "right_foot": "right_ankle"}
_OWN_NAMES: tuple[dict[str, str], ...] = (
    {},
    {"head": "head_top", "neck": "head_bottom", "hip": "pelvis"},  # CrowdPose, AI Challenger, Halpe, OpenPose's MPI
    {"neck": "thorax"},  # OpenPose
    {**_FOOT_ENDS, "hip": "pelvis"},  # Human3.6M
)
"""What data sets call keypoints that have another name here; it counts where it makes a known skeleton complete."""


def named_skeleton(names: Sequence[str], where: str = "") -> Skeleton:
    """Returns the skeleton of some names, in their order: a known one if it has the same keypoints.

    Case, blanks, hyphens and underscores do not matter, and sides may be one letter. Other names stay as they are.

    Raises:
        ValueError: A keypoint is named twice; a UserError if `where` says where the names are.
    """
    if where and len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise UserError(f"{where}: expected every keypoint once, found {twice!r} twice")
    found = tuple(_SPELLINGS.get(_squeezed(name), name) for name in names)
    for own in _OWN_NAMES:
        translated = tuple(own.get(name, name) for name in found)
        alike = [skeleton for skeleton in _ALL if set(skeleton.names) == set(translated)]
        if alike and len(set(translated)) == len(names):
            same = next((skeleton for skeleton in alike if skeleton.names == translated), None)
            return same or Skeleton(translated, alike[0].limbs, _sigmas(translated))

    kinds = {kind(name) for name in found}
    other = {"neck": "head_bottom"} if "head_top" in kinds and "head_bottom" not in kinds else {}
    other |= {} if "ankle" in kinds else _FOOT_ENDS
    other |= {} if "wrist" in kinds else {"left_hand": "left_wrist", "right_hand": "right_wrist"}
    translated = tuple(other.get(name, name) for name in found)
    own_names = translated if len(set(translated)) == len(names) else tuple(names)
    return Skeleton(own_names, tuple(limb for limb in PHOTO19.limbs if set(limb) <= set(own_names)), _sigmas(own_names))


def get_skeleton(name: str) -> Skeleton:
    """Returns a skeleton by its name, in which case, blanks, hyphens and underscores do not matter.

    Raises:
        UserError: There is none of that name.
    """
    found = SKELETONS.get(_OTHER_SKELETON_NAMES.get(_squeezed(name), _squeezed(name)))
    if found is None:
        raise UserError(f"unknown skeleton '{name}': expected one of {', '.join(SKELETONS)}, or a list of names")
    return found


SkeletonLike = Skeleton | str | Sequence[str]
"""A skeleton, its name, or the names of its keypoints."""


def skeleton_of(value: SkeletonLike) -> Skeleton:
    """Returns a skeleton by its name or by the names of its keypoints.

    Raises:
        UserError: There is no skeleton of that name.
        ValueError: A keypoint is named twice.
    """
    if isinstance(value, Skeleton):
        return value
    return get_skeleton(value) if isinstance(value, str) else named_skeleton(value)
