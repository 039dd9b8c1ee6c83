"""Articulated bodies that move: joint angles over time, and the positions of body points that follow from them.

Lengths are in metres. A body's own axes are x to its left, y up and z forward; the world has y up
too, and a body with yaw 0 looks along the world's z axis, towards the camera.
"""

from dataclasses import dataclass

import numpy as np

from hpr.poses import FloatArray

ANGLES = (
    "lean",
    "roll",
    "bend",
    "twist",
    "head_yaw",
    "head_pitch",
    *(f"{side}_{name}" for side in ("left", "right") for name in ("swing", "lift", "turn", "elbow")),
    *(f"{side}_{name}" for side in ("left", "right") for name in ("thigh", "spread", "knee")),
)
"""Degrees of freedom, in degrees; arms and legs hang straight down at 0."""

POINTS = (
    "pelvis",
    "waist",
    "chest",
    "neck",
    "head_bottom",
    "head_centre",
    "head_top",
    "nose",
    *(f"{side}_{name}" for side in ("left", "right") for name in ("shoulder", "elbow", "wrist", "hand")),
    *(f"{side}_{name}" for side in ("left", "right") for name in ("hip", "knee", "ankle", "heel", "toe")),
)
"""Named points of a body; those that are keypoints have the names of `skeleton.POSETRACK15`."""

_MOTIONS = ("stand", "walk", "run", "gesture", "squat", "stoop", "dance")


@dataclass(frozen=True)
class Motion:
    """Angles that swing around a mean: mean + amplitude * sin(2 pi (frequency * t + phase)).

    Attributes:
        mean: (20,) degrees, in the order of ANGLES.
        amplitude: (20,) degrees.
        frequency: (20,) swings per second.
        phase: (20,) fraction of a swing.
        speed: Metres per second, forward.
    """

    mean: FloatArray
    amplitude: FloatArray
    frequency: FloatArray
    phase: FloatArray
    speed: float

    def angles(self, time: float) -> dict[str, float]:
        """Returns the angles at a time in seconds, in radians."""
        degrees = self.mean + self.amplitude * np.sin(2 * np.pi * (self.frequency * time + self.phase))
        return dict(zip(ANGLES, np.deg2rad(degrees).tolist(), strict=True))


@dataclass(frozen=True)
class Build:
    """Proportions of one body, relative to the mean adult's.

    Attributes:
        height: Height in metres.
        arms: Length of the arms.
        legs: Length of the legs.
        torso: Length of the torso.
        shoulders: Width of the shoulders.
        hips: Width of the hips.
        head: Size of the head.
    """

    height: float
    arms: float
    legs: float
    torso: float
    shoulders: float
    hips: float
    head: float


@dataclass(frozen=True)
class Posture:
    """A body at one moment, around its pelvis.

    Attributes:
        points: Position (3,) of each of POINTS, in metres from the point on the ground below the pelvis.
        chest: (3, 3) rotation of the torso; its columns are the body's left, up and forward.
        head: (3, 3) rotation of the head.
    """

    points: dict[str, FloatArray]
    chest: FloatArray
    head: FloatArray


def draw_build(random: np.random.Generator) -> Build:
    """Draws the proportions of an adult or an adolescent."""
    height = random.uniform(1.5, 1.95) if random.random() < 0.85 else random.uniform(1.1, 1.5)
    arms, legs, torso, shoulders, hips, head = np.clip(random.normal(1.0, 0.05, 6), 0.88, 1.12).tolist()
    head *= (1.75 / height) ** 0.5  # the smaller the person, the larger the head is by comparison
    return Build(height, arms, legs, torso, shoulders, hips, head)


@dataclass
class _Draft:
    """A `Motion` before its angles are put in order.

    Attributes:
        mean: Angle name → degrees.
        amplitude: Angle name → degrees.
        phase: Angle name → fraction of a swing.
        pace: Swings per second.
        speed: Metres per second, forward.
    """

    mean: dict[str, float]
    amplitude: dict[str, float]
    phase: dict[str, float]
    pace: float
    speed: float = 0.0


def draw_motion(random: np.random.Generator) -> Motion:
    """Draws a kind of motion and its details."""
    draft = _draw_at_rest(random)

    kind = _MOTIONS[random.integers(len(_MOTIONS))]
    if kind in ("walk", "run"):
        _stride(draft, kind == "run", random)
    if kind in ("gesture", "dance", "squat", "stand") and (kind != "stand" or random.random() < 0.4):
        _wave(draft, random)
    if kind == "dance":
        _dance(draft, random)
    if kind == "squat":
        _squat(draft, random)
    if kind == "stoop":
        _stoop(draft, random)

    tables = (draft.mean, draft.amplitude, draft.phase)
    mean, amplitude, phase = (np.array([table[name] for name in ANGLES]) for table in tables)

    # A stride keeps arms and legs in step; in other motions every angle has its own pace.
    variation = np.ones(len(ANGLES)) if kind in ("walk", "run") else random.uniform(0.6, 1.4, len(ANGLES))
    return Motion(mean, amplitude, draft.pace * variation, phase, draft.speed)


def _draw_at_rest(random: np.random.Generator) -> _Draft:
    """Draws a person who stands and hardly moves."""
    mean = {name: random.normal(0, 4) for name in ANGLES}
    amplitude = {name: random.uniform(0, 3) for name in ANGLES}
    phase = {name: random.random() for name in ANGLES}
    pace = random.uniform(0.3, 0.8)
    mean |= {"head_yaw": random.normal(0, 25), "head_pitch": random.normal(5, 12), "bend": random.normal(4, 6)}
    for side in ("left", "right"):
        mean |= {f"{side}_swing": random.normal(8, 12), f"{side}_lift": random.uniform(3, 20)}
        mean |= {f"{side}_elbow": random.uniform(5, 50), f"{side}_turn": random.normal(0, 20)}
        mean |= {f"{side}_spread": random.uniform(1, 10), f"{side}_thigh": random.normal(2, 5)}
        mean |= {f"{side}_knee": random.uniform(2, 14)}
    return _Draft(mean, amplitude, phase, pace)


def _stride(draft: _Draft, runs: bool, random: np.random.Generator) -> None:
    """Makes a person walk or run: the legs swing against each other, and each arm against its leg."""
    stride = random.uniform(30, 45) if runs else random.uniform(18, 28)
    draft.pace = random.uniform(1.2, 1.6) if runs else random.uniform(0.7, 1.1)
    draft.speed = stride / (14 if runs else 20)
    begin = random.random()
    for side, half in (("left", 0.0), ("right", 0.5)):
        bent = random.uniform(45, 60) if runs else random.uniform(18, 28)
        draft.mean |= {f"{side}_thigh": stride * 0.3, f"{side}_knee": bent, f"{side}_swing": 0.0}
        draft.mean |= {f"{side}_elbow": random.uniform(70, 100) if runs else random.uniform(10, 35)}
        draft.amplitude |= {f"{side}_thigh": stride, f"{side}_knee": bent - 3, f"{side}_swing": stride * 0.9}
        draft.phase |= {
            f"{side}_thigh": begin + half,
            f"{side}_knee": begin + half - 0.2,
            f"{side}_swing": begin + half + 0.5,
        }


def _wave(draft: _Draft, random: np.random.Generator) -> None:
    """Makes a person move their arms."""
    for side in ("left", "right"):
        draft.mean |= {f"{side}_swing": random.uniform(-30, 150), f"{side}_lift": random.uniform(0, 90)}
        draft.mean |= {f"{side}_elbow": random.uniform(0, 130), f"{side}_turn": random.uniform(-70, 70)}
        for name in ("swing", "lift", "elbow"):
            draft.amplitude[f"{side}_{name}"] = random.uniform(5, 40)


def _dance(draft: _Draft, random: np.random.Generator) -> None:
    """Makes a person move their legs and trunk on the spot."""
    for side in ("left", "right"):
        draft.mean |= {f"{side}_thigh": random.uniform(-15, 50), f"{side}_spread": random.uniform(0, 35)}
        draft.mean |= {f"{side}_knee": random.uniform(5, 80)}
        draft.amplitude |= {f"{side}_thigh": random.uniform(0, 25), f"{side}_knee": random.uniform(0, 20)}
    draft.mean |= {"lean": random.normal(0, 10), "twist": random.normal(0, 20), "roll": random.normal(0, 8)}


def _squat(draft: _Draft, random: np.random.Generator) -> None:
    """Bends a person's knees."""
    deep = random.uniform(40, 95)
    for side in ("left", "right"):
        draft.mean |= {
            f"{side}_thigh": deep + random.normal(0, 8),
            f"{side}_knee": deep * 1.1,
            f"{side}_spread": random.uniform(3, 25),
        }
    draft.mean["bend"] = random.uniform(0, 40)


def _stoop(draft: _Draft, random: np.random.Generator) -> None:
    """Bends a person's back."""
    draft.mean |= {"bend": random.uniform(30, 80), "head_pitch": random.uniform(-30, 10)}
    for side in ("left", "right"):
        draft.mean[f"{side}_swing"] = random.uniform(20, 100)


def posture(build: Build, angles: dict[str, float], yaw: float) -> Posture:
    """Computes the points of a body, with its lowest foot on the ground.

    Args:
        build: Proportions of the body.
        angles: Angle name → radians.
        yaw: Rotation about the vertical, in radians; at 0 the body looks along z.
    """
    unit = build.height / 1.75
    root = _about_y(yaw) @ _about_x(angles["lean"]) @ _about_z(angles["roll"])
    lower = root @ _about_x(0.4 * angles["bend"]) @ _about_y(0.4 * angles["twist"])
    chest = root @ _about_x(angles["bend"]) @ _about_y(angles["twist"])
    head = chest @ _about_y(angles["head_yaw"]) @ _about_x(angles["head_pitch"] - 0.5 * angles["bend"])

    torso, skull = unit * build.torso, unit * build.head
    points = {"pelvis": np.zeros(3)}
    points["waist"] = lower @ [0, 0.20 * torso, 0]
    points["chest"] = points["waist"] + chest @ [0, 0.20 * torso, 0]
    points["neck"] = points["chest"] + chest @ [0, 0.13 * torso, 0]
    points["head_bottom"] = points["neck"] + head @ [0, 0.06 * skull, 0.02 * skull]
    points["head_centre"] = points["head_bottom"] + head @ [0, 0.12 * skull, 0.02 * skull]
    points["head_top"] = points["head_bottom"] + head @ [0, 0.245 * skull, 0.01 * skull]
    points["nose"] = points["head_bottom"] + head @ [0, 0.10 * skull, 0.125 * skull]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        points |= _arm(side, sign, points["neck"], chest, unit, build, angles)
        points |= _leg(side, sign, root, unit, build, angles)

    ground = min(point[1] for name, point in points.items() if name.endswith(("heel", "toe", "ankle", "knee")))
    return Posture({name: point - [0, ground, 0] for name, point in points.items()}, chest, head)


def _arm(
    side: str, sign: float, neck: FloatArray, chest: FloatArray, unit: float, build: Build, angles: dict[str, float]
) -> dict[str, FloatArray]:
    shoulder = neck + chest @ [sign * 0.185 * unit * build.shoulders, -0.035 * unit, 0]
    upper = chest @ _about_x(-angles[f"{side}_swing"]) @ _about_z(sign * angles[f"{side}_lift"])
    upper = upper @ _about_y(-sign * angles[f"{side}_turn"])
    fore = upper @ _about_x(-max(angles[f"{side}_elbow"], 0.0))
    elbow = shoulder + upper @ [0, -0.29 * unit * build.arms, 0]
    wrist = elbow + fore @ [0, -0.26 * unit * build.arms, 0]
    hand = wrist + fore @ [0, -0.09 * unit, 0.01 * unit]
    return {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_wrist": wrist, f"{side}_hand": hand}


def _leg(
    side: str, sign: float, root: FloatArray, unit: float, build: Build, angles: dict[str, float]
) -> dict[str, FloatArray]:
    hip = root @ [sign * 0.10 * unit * build.hips, -0.02 * unit, 0]
    thigh = root @ _about_x(-angles[f"{side}_thigh"]) @ _about_z(sign * angles[f"{side}_spread"])
    shin = thigh @ _about_x(max(angles[f"{side}_knee"], 0.0))
    knee = hip + thigh @ [0, -0.43 * unit * build.legs, 0]
    ankle = knee + shin @ [0, -0.41 * unit * build.legs, 0]
    heel, toe = ankle + shin @ [0, -0.07 * unit, -0.05 * unit], ankle + shin @ [0, -0.08 * unit, 0.17 * unit]
    points = {"hip": hip, "knee": knee, "ankle": ankle, "heel": heel, "toe": toe}
    return {f"{side}_{name}": point for name, point in points.items()}


def _about_x(angle: float) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_y(angle: float) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_z(angle: float) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
