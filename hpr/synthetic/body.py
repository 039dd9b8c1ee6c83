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

X, Y, Z = range(3)
_MOTIONS = ("stand", "walk", "run", "gesture", "squat", "stoop", "dance")


@dataclass
class Motion:
    """Angles that swing around a mean: mean + amplitude * sin(2 pi (frequency * t + phase)).

    Attributes:
        mean: Angle name → degrees.
        amplitude: Angle name → degrees.
        phase: Angle name → fraction of a swing.
        frequency: (20,) swings per second, in the order of ANGLES.
        speed: Metres per second, forward.
    """

    mean: dict[str, float]
    amplitude: dict[str, float]
    phase: dict[str, float]
    frequency: FloatArray
    speed: float = 0.0

    def angles(self, time: float) -> dict[str, float]:
        """Returns the angles at a time in seconds, in radians."""
        tables = (self.mean, self.amplitude, self.phase)
        mean, amplitude, phase = (np.array([table[name] for name in ANGLES]) for table in tables)
        degrees = mean + amplitude * np.sin(2 * np.pi * (self.frequency * time + phase))
        return dict(zip(ANGLES, np.deg2rad(degrees).tolist(), strict=True))


@dataclass(frozen=True)
class Build:
    """The height of one body in metres; lengths and widths relative to the mean adult's."""

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
        points: Name → position (3,) in metres from the point on the ground below the pelvis. Keypoints have the names
            of `skeleton.POSETRACK15`.
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


def draw_motion(random: np.random.Generator) -> Motion:
    """Draws a kind of motion and its details."""
    motion = _draw_at_rest(random)

    kind = _MOTIONS[random.integers(len(_MOTIONS))]
    if kind in ("walk", "run"):
        _stride(motion, kind == "run", random)
    if kind in ("gesture", "dance", "squat", "stand") and (kind != "stand" or random.random() < 0.4):
        _wave(motion, random)
    if kind == "dance":
        _dance(motion, random)
    if kind == "squat":
        _squat(motion, random)
    if kind == "stoop":
        motion.mean |= {"bend": random.uniform(30, 80), "head_pitch": random.uniform(-30, 10)}
        motion.mean |= {f"{side}_swing": random.uniform(20, 100) for side in ("left", "right")}

    # A stride keeps arms and legs in step; in other motions every angle has its own pace.
    if kind not in ("walk", "run"):
        motion.frequency = motion.frequency * random.uniform(0.6, 1.4, len(ANGLES))
    return motion


def _draw_at_rest(random: np.random.Generator) -> Motion:
    """Draws a person who stands and hardly moves."""
    mean = {name: random.normal(0, 4) for name in ANGLES}
    amplitude = {name: random.uniform(0, 3) for name in ANGLES}
    phase = {name: random.random() for name in ANGLES}
    frequency = np.full(len(ANGLES), random.uniform(0.3, 0.8))
    mean |= {"head_yaw": random.normal(0, 25), "head_pitch": random.normal(5, 12), "bend": random.normal(4, 6)}
    for side in ("left", "right"):
        mean |= {f"{side}_swing": random.normal(8, 12), f"{side}_lift": random.uniform(3, 20)}
        mean |= {f"{side}_elbow": random.uniform(5, 50), f"{side}_turn": random.normal(0, 20)}
        mean |= {f"{side}_spread": random.uniform(1, 10), f"{side}_thigh": random.normal(2, 5)}
        mean |= {f"{side}_knee": random.uniform(2, 14)}
    return Motion(mean, amplitude, phase, frequency)


def _stride(motion: Motion, runs: bool, random: np.random.Generator) -> None:
    """Makes a person walk or run: the legs swing against each other, and each arm against its leg."""
    stride = random.uniform(30, 45) if runs else random.uniform(18, 28)
    motion.frequency = np.full(len(ANGLES), random.uniform(1.2, 1.6) if runs else random.uniform(0.7, 1.1))
    motion.speed = stride / (14 if runs else 20)
    begin = random.random()
    for side, half in (("left", 0.0), ("right", 0.5)):
        bent = random.uniform(45, 60) if runs else random.uniform(18, 28)
        motion.mean |= {f"{side}_thigh": stride * 0.3, f"{side}_knee": bent, f"{side}_swing": 0.0}
        motion.mean |= {f"{side}_elbow": random.uniform(70, 100) if runs else random.uniform(10, 35)}
        motion.amplitude |= {f"{side}_thigh": stride, f"{side}_knee": bent - 3, f"{side}_swing": stride * 0.9}
        motion.phase |= {
            f"{side}_thigh": begin + half,
            f"{side}_knee": begin + half - 0.2,
            f"{side}_swing": begin + half + 0.5,
        }


def _wave(motion: Motion, random: np.random.Generator) -> None:
    """Makes a person move their arms."""
    for side in ("left", "right"):
        motion.mean |= {f"{side}_swing": random.uniform(-30, 150), f"{side}_lift": random.uniform(0, 90)}
        motion.mean |= {f"{side}_elbow": random.uniform(0, 130), f"{side}_turn": random.uniform(-70, 70)}
        for name in ("swing", "lift", "elbow"):
            motion.amplitude[f"{side}_{name}"] = random.uniform(5, 40)


def _dance(motion: Motion, random: np.random.Generator) -> None:
    """Makes a person move their legs and trunk on the spot."""
    for side in ("left", "right"):
        motion.mean |= {f"{side}_thigh": random.uniform(-15, 50), f"{side}_spread": random.uniform(0, 35)}
        motion.mean |= {f"{side}_knee": random.uniform(5, 80)}
        motion.amplitude |= {f"{side}_thigh": random.uniform(0, 25), f"{side}_knee": random.uniform(0, 20)}
    motion.mean |= {"lean": random.normal(0, 10), "twist": random.normal(0, 20), "roll": random.normal(0, 8)}


def _squat(motion: Motion, random: np.random.Generator) -> None:
    """Bends a person's knees."""
    deep = random.uniform(40, 95)
    for side in ("left", "right"):
        motion.mean |= {
            f"{side}_thigh": deep + random.normal(0, 8),
            f"{side}_knee": deep * 1.1,
            f"{side}_spread": random.uniform(3, 25),
        }
    motion.mean["bend"] = random.uniform(0, 40)


def posture(build: Build, angles: dict[str, float], yaw: float) -> Posture:
    """Computes the points of a body, with its lowest foot on the ground.

    Args:
        build: Proportions of the body.
        angles: Angle name → radians.
        yaw: Rotation about the vertical, in radians; at 0 the body looks along z.
    """
    unit = build.height / 1.75
    root = about(Y, yaw) @ about(X, angles["lean"]) @ about(Z, angles["roll"])
    lower = root @ about(X, 0.4 * angles["bend"]) @ about(Y, 0.4 * angles["twist"])
    chest = root @ about(X, angles["bend"]) @ about(Y, angles["twist"])
    head = chest @ about(Y, angles["head_yaw"]) @ about(X, angles["head_pitch"] - 0.5 * angles["bend"])

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
        turned = {name.removeprefix(f"{side}_"): angle for name, angle in angles.items() if name.startswith(side)}
        limbs = _limbs(sign, points["neck"], root, chest, build, turned)
        points |= {f"{side}_{name}": point for name, point in limbs.items()}

    ground = min(point[1] for name, point in points.items() if name.endswith(("heel", "toe", "ankle", "knee")))
    return Posture({name: point - [0, ground, 0] for name, point in points.items()}, chest, head)


def _limbs(
    sign: float, neck: FloatArray, root: FloatArray, chest: FloatArray, build: Build, angles: dict[str, float]
) -> dict[str, FloatArray]:
    """Returns the points of one side's arm and leg; `sign` is 1 for the left side and -1 for the right."""
    unit = build.height / 1.75
    upper = chest @ about(X, -angles["swing"]) @ about(Z, sign * angles["lift"]) @ about(Y, -sign * angles["turn"])
    fore = upper @ about(X, -max(angles["elbow"], 0.0))
    shoulder = neck + chest @ [sign * 0.185 * unit * build.shoulders, -0.035 * unit, 0]
    elbow = shoulder + upper @ [0, -0.29 * unit * build.arms, 0]
    wrist = elbow + fore @ [0, -0.26 * unit * build.arms, 0]
    hand = wrist + fore @ [0, -0.09 * unit, 0.01 * unit]

    thigh = root @ about(X, -angles["thigh"]) @ about(Z, sign * angles["spread"])
    shin = thigh @ about(X, max(angles["knee"], 0.0))
    hip = root @ [sign * 0.10 * unit * build.hips, -0.02 * unit, 0]
    knee = hip + thigh @ [0, -0.43 * unit * build.legs, 0]
    ankle = knee + shin @ [0, -0.41 * unit * build.legs, 0]
    heel, toe = ankle + shin @ [0, -0.07 * unit, -0.05 * unit], ankle + shin @ [0, -0.08 * unit, 0.17 * unit]

    arm = {"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": hand}
    return {**arm, "hip": hip, "knee": knee, "ankle": ankle, "heel": heel, "toe": toe}


def about(axis: int, angle: float) -> FloatArray:
    """Returns the rotation (3, 3) about an axis."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = np.cos(angle)
    rotation[second, first] = np.sin(angle)
    rotation[first, second] = -rotation[second, first]
    return rotation
