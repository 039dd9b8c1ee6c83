"""Joint names, mirror pairs and joint orders. No other module knows what an index means."""

JOINTS = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "head_bottom",
    "nose",
    "head_top",
)
"""The refiner's 15 joints in PoseTrack 2017 order (REFERENCE.md, section 1)."""

JOINT_GROUPS = {
    "Head": ("head_top", "head_bottom", "nose"),
    "Shou": ("right_shoulder", "left_shoulder"),
    "Elb": ("right_elbow", "left_elbow"),
    "Wri": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Knee": ("right_knee", "left_knee"),
    "Ankl": ("right_ankle", "left_ankle"),
}
"""The columns of the tables that PoseTrack results are printed in."""

NUM_JOINTS = len(JOINTS)
HEAD_BOTTOM = JOINTS.index("head_bottom")
HEAD_TOP = JOINTS.index("head_top")

_LIMBS = (
    ("right_ankle", "right_knee"),
    ("right_knee", "right_hip"),
    ("right_hip", "right_shoulder"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("right_shoulder", "head_bottom"),
    ("left_ankle", "left_knee"),
    ("left_knee", "left_hip"),
    ("left_hip", "left_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("left_shoulder", "head_bottom"),
    ("head_bottom", "nose"),
    ("nose", "head_top"),
    ("right_hip", "left_hip"),
)
LIMBS = tuple((JOINTS.index(a), JOINTS.index(b)) for a, b in _LIMBS)
"""Pairs of joints that a drawn skeleton connects."""


def mirrored(name: str) -> str:
    """Returns the joint that a mirror image shows in this one's place."""
    side, _, rest = name.partition("_")
    return {"right": f"left_{rest}", "left": f"right_{rest}"}.get(side, name)


MIRROR = tuple(JOINTS.index(mirrored(name)) for name in JOINTS)
"""For each joint, the index of its mirror partner (itself on the body's axis)."""

POSETRACK18_KEYPOINTS = (
    "nose",
    "head_bottom",
    "head_top",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
"""The 17 keypoint slots of PoseTrack 2018 and 2021 files; the ears are always empty."""

POSETRACK18_SLOTS = tuple(POSETRACK18_KEYPOINTS.index(name) for name in JOINTS)
"""For each of the refiner's joints, its slot in a PoseTrack 2018 file."""
