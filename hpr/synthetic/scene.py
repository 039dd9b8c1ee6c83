"""Clips of drawn people in front of a moving camera, with exact keypoints, head boxes and occlusion."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from hpr.images import Image, decode_image
from hpr.poses import FloatArray, IntArray
from hpr.seeds import Purpose, generator
from hpr.skeleton import POSETRACK15
from hpr.synthetic.body import Build, Motion, Posture, X, Y, about, draw_build, draw_motion, posture
from hpr.synthetic.painting import PARTS, PARTS_PER_PERSON, Canvas, Figure, Seen, covers
from hpr.synthetic.wardrobe import Colour, Outfit, draw_outfit

VISIBLE, SELF_HIDDEN, HIDDEN, OUTSIDE = range(4)
"""Whether a keypoint is visible, behind the person's own body, behind something else, or outside the image."""

_OBJECT = -1
_NEAREST = 0.8  # metres from the camera; people nearer than that are not drawn


@dataclass(frozen=True)
class Actor:
    """A person throughout a clip.

    Attributes:
        start: (2,) x and z on the ground at time 0, in metres.
        yaw: Direction they look in, in radians; 0 is towards the camera.
        turning: Rotation in radians per second.
    """

    build: Build
    motion: Motion
    outfit: Outfit
    start: FloatArray
    yaw: float
    turning: float

    def posture_at(self, time: float) -> Posture:
        """Returns the body in the world at a time in seconds."""
        yaw = self.yaw + self.turning * time
        heading = self.yaw + self.turning * time / 2
        way = self.motion.speed * time * np.array([np.sin(heading), 0, np.cos(heading)])
        position = np.array([self.start[0], 0, self.start[1]]) + way
        body = posture(self.build, self.motion.angles(time), yaw)
        return Posture({name: point + position for name, point in body.points.items()}, body.chest, body.head)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that may pan and drift.

    Attributes:
        size: Width and height of the image.
        focal: Focal length in pixels.
        height: Height above the ground in metres.
        pitch: Downward angle in radians.
        pan: Rotation in radians per second.
        drift: (2,) movement sideways and upwards in metres per second.
    """

    size: tuple[int, int]
    focal: float
    height: float
    pitch: float
    pan: float
    drift: FloatArray

    def position_at(self, time: float) -> FloatArray:
        """Returns the position (3,) at a time, in metres."""
        return np.array([self.drift[0] * time, self.height + self.drift[1] * time, 0.0])

    def rotation_at(self, time: float) -> FloatArray:
        """Returns the rotation (3, 3) from world to camera axes: right, up, towards the viewer."""
        return np.asarray(about(X, self.pitch) @ about(Y, -self.pan * time))


@dataclass(frozen=True)
class Finish:
    """Effects of light, lens and compression on a clip.

    Attributes:
        gain: (3,) factor of each channel.
        gamma: Exponent of all channels.
        blur: Standard deviation of a soft focus, in pixels.
        shake: (2,) motion blur, in pixels.
        noise: Standard deviation of noise, in levels of 0 to 255.
        quality: JPEG quality.
    """

    gain: FloatArray
    gamma: float
    blur: float
    shake: FloatArray
    noise: float
    quality: int


@dataclass(frozen=True)
class PersonTruth:
    """The exact ground truth of one person in one frame; keypoints are in the order of POSETRACK15.

    Attributes:
        track_id: Index of the person in the clip.
        keypoints: (15, 2) in image pixels, including hidden ones and those outside the image.
        occlusion: (15,), VISIBLE, SELF_HIDDEN, HIDDEN or OUTSIDE.
        head_box: (4,) x0, y0, x1, y1.
    """

    track_id: int
    keypoints: FloatArray
    occlusion: IntArray
    head_box: FloatArray

    @property
    def annotated(self) -> FloatArray:
        """(15, 2), NaN where an annotator would mark nothing: behind something else, or outside the image."""
        return np.where((self.occlusion <= SELF_HIDDEN)[:, None], self.keypoints, np.nan)


class Clip:
    """A scene that can be rendered at any time; equal seeds give equal scenes."""

    def __init__(self, seed: tuple[int, ...], held_out: bool = False, size: tuple[int, int] | None = None) -> None:
        """Draws a scene.

        Args:
            seed: Seed of everything in the scene.
            held_out: Whether people wear clothes that training never draws.
            size: Width and height of the image; None draws them.
        """
        random = np.random.default_rng(seed)
        self._seed = seed
        width = int(random.integers(400, 800))
        self.size = size or (width, int(width * random.choice([0.5625, 0.75, 1.0])))
        self._camera = _draw_camera(self.size, random)
        self._actors = _draw_actors(self._camera, random, held_out)
        self._obstacles = [_draw_obstacle(self._camera, random) for _ in range(int(random.choice([0, 0, 0, 1, 1, 2])))]
        self._finish = _draw_finish(random)
        angle = random.uniform(0, 2 * np.pi)
        self._light = np.array([np.cos(angle), -abs(np.sin(angle))])
        self._backdrop_seed = int(random.integers(2**31))

    def frame(self, time: float) -> tuple[Image, list[PersonTruth]]:
        """Returns the image (H, W, 3) RGB at a time in seconds, and the people with a keypoint inside it."""
        encoded, people = self.encoded_frame(time)
        return decode_image(np.frombuffer(encoded, np.uint8)), people

    def encoded_frame(self, time: float) -> tuple[bytes, list[PersonTruth]]:
        """Returns what `frame` does, with the image as the content of a JPEG file."""
        width, height = self.size
        image = self._background(time)
        canvas = Canvas(image, np.zeros((height, width), np.int16), self._light)
        figures = self._paint(canvas, time)

        people = [_truth(figure, index, canvas.owner) for index, figure in figures.items()]
        noise = generator(Purpose.CLIP_NOISE, *self._seed, int(1000 * time))
        encoded = _encode(image, self._finish, noise)
        return encoded, [person for person in people if (person.occlusion != OUTSIDE).any()]

    def _paint(self, canvas: Canvas, time: float) -> dict[int, Figure]:
        """Paints people and obstacles, far ones first; returns the people who are not too near, by index."""
        camera, position, rotation = self._camera, self._camera.position_at(time), self._camera.rotation_at(time)
        width, height = self.size

        def see(point: FloatArray) -> Seen:
            x, y, z = rotation @ (point - position)
            depth = max(-z, 0.1)
            scale = camera.focal / depth
            return Seen(np.array([width / 2 + scale * x, height / 2 - scale * y]), depth, scale)

        people = enumerate(self._actors)
        figures = {i: Figure(one.posture_at(time), one.build, one.outfit, see, position) for i, one in people}
        figures = {index: figure for index, figure in figures.items() if figure.depth > _NEAREST}

        # People have indices from 0 up, obstacles from -1 down.
        layers = [(figure.depth, index) for index, figure in figures.items()]
        layers += [(see(corners.mean(axis=0)).depth, -1 - i) for i, (corners, _) in enumerate(self._obstacles)]
        for _, index in sorted(layers, reverse=True):
            if index >= 0:
                figures[index].paint(canvas, index)
            else:
                corners, colour = self._obstacles[-1 - index]
                canvas.fill(np.array([see(corner).xy for corner in corners]), colour, _OBJECT)
        return figures

    @cached_property
    def _backdrop(self) -> Image:
        """Floor, wall, soft blotches and a clutter of shapes, some like limbs; larger than the frame, for panning."""
        random = np.random.default_rng(self._backdrop_seed)
        width, height = int(self.size[0] * 1.4), int(self.size[1] * 1.2)
        vivid = random.uniform(0.2, 1.0)
        horizon = int(height * random.uniform(0.35, 0.7))
        picture = np.empty((height, width, 3), np.uint8)
        picture[:horizon], picture[horizon:] = _draw_colour(vivid, random), _draw_colour(vivid, random)
        for _ in range(int(random.integers(8, 60))):
            _draw_shape(picture, self.size[1], vivid, random)

        spread, rows, columns = random.uniform(5, 30), int(random.integers(4, 24)), int(random.integers(4, 24))
        coarse = random.normal(128, spread, (rows, columns, 3))
        blotches = cv2.resize(np.clip(coarse, 0, 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
        picture = cv2.addWeighted(picture, 1.0, blotches, 1.0, -128.0)
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), random.uniform(0.3, 2.5)), np.uint8)

    def _background(self, time: float) -> Image:
        """Returns the part of the backdrop that the camera looks at."""
        (width, height), backdrop = self.size, self._backdrop
        drift = self._camera.drift * time
        shift = np.array([self._camera.pan * time + 0.1 * drift[0], -0.1 * drift[1]]) * self._camera.focal
        x = (backdrop.shape[1] - width) / 2 + shift[0]
        y = (backdrop.shape[0] - height) / 2 + shift[1]
        window = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y]])
        return np.ascontiguousarray(cv2.warpAffine(backdrop, window, self.size, borderMode=cv2.BORDER_REFLECT))


def _truth(figure: Figure, index: int, owner: NDArray[np.int16]) -> PersonTruth:
    """Returns the keypoints of a person with an index and whether they are visible; `owner` is that of a `Canvas`."""
    height, width = owner.shape
    keypoints = np.array([figure.seen[name].xy for name in POSETRACK15.names])
    occlusion = np.full(len(POSETRACK15), OUTSIDE)
    for i, (x, y) in enumerate(np.floor(keypoints).astype(int)):
        if not (0 <= x < width and 0 <= y < height):
            continue
        person, part = divmod(int(owner[y, x]), PARTS_PER_PERSON)
        if person == index + 1:
            occlusion[i] = VISIBLE if covers(PARTS[part], POSETRACK15.names[i]) else SELF_HIDDEN
        else:
            # At a keypoint on the outline the background may show: then nothing is in front of it.
            occlusion[i] = VISIBLE if owner[y, x] == 0 else HIDDEN
    return PersonTruth(index, keypoints, occlusion, figure.head_outline())


def _draw_camera(size: tuple[int, int], random: np.random.Generator) -> Camera:
    focal = size[0] * random.uniform(0.9, 1.8)
    moves = random.random() < 0.7
    pan = random.normal(0, 0.08) if moves else 0.0
    drift = random.normal(0, [0.25, 0.05]) if moves else np.zeros(2)
    return Camera(size, focal, random.uniform(0.9, 2.2), random.normal(0.06, 0.05), pan, drift)


def _draw_actors(camera: Camera, random: np.random.Generator, held_out: bool) -> list[Actor]:
    """Draws people of very different sizes in the image, many of them close to somebody else."""
    width, height = camera.size
    actors: list[Actor] = []
    for _ in range(int(random.integers(2, 6))):
        build = draw_build(random)
        tall = height * random.uniform(0.35, 0.85)  # in pixels
        depth = camera.focal * build.height / tall
        x = random.uniform(-0.42, 0.42) * width * depth / camera.focal
        if actors and random.random() < 0.4:
            near = actors[random.integers(len(actors))]
            depth = max(-near.start[1] + random.normal(0, 0.5), 1.2)
            x = near.start[0] + random.choice([-1, 1]) * random.uniform(0.2, 0.7)
        motion, outfit = draw_motion(random), draw_outfit(random, held_out)
        yaw, turning = random.uniform(-np.pi, np.pi), random.normal(0, 0.3)
        actors.append(Actor(build, motion, outfit, np.array([x, -depth]), yaw, turning))
    return actors


def _draw_obstacle(camera: Camera, random: np.random.Generator) -> tuple[FloatArray, Colour]:
    """Draws a box, a pole or a table top: its corners (4, 3) in the world, and its colour."""
    depth = random.uniform(1.5, 6.0)
    x = random.uniform(-0.5, 0.5) * camera.size[0] * depth / camera.focal
    wide, high = ((0.5, 0.8), (0.07, 2.5), (1.2, 0.12))[random.integers(3)]
    wide, high = wide * random.uniform(0.5, 1.3), high * random.uniform(0.6, 1.2)
    low = random.uniform(0.3, 1.0) if high < 0.3 else 0.0
    left, right = x - wide / 2, x + wide / 2
    corners = [[left, low, -depth], [right, low, -depth], [right, low + high, -depth], [left, low + high, -depth]]
    return np.array(corners), _draw_colour(1.0, random)


def _draw_finish(random: np.random.Generator) -> Finish:
    gain = random.uniform(0.65, 1.25) * random.normal(1, 0.06, 3)
    shake = random.normal(0, 2.0, 2) if random.random() < 0.25 else np.zeros(2)
    blur = random.uniform(0, 1.4) if random.random() < 0.5 else 0.0
    return Finish(gain, random.uniform(0.8, 1.25), blur, shake, random.uniform(0, 5), int(random.integers(45, 96)))


def _draw_shape(picture: Image, unit: int, vivid: float, random: np.random.Generator) -> None:
    """Draws a rectangle, an ellipse or a thick line of a size relative to `unit` in pixels."""
    height, width = picture.shape[:2]
    x, y = int(random.uniform(0, width)), int(random.uniform(0, height))
    colour = _draw_colour(vivid, random)
    extent = unit * random.uniform(0.02, 0.3) * random.uniform(0.2, 1.0, 2)
    a, b = max(int(extent[0]), 1), max(int(extent[1]), 1)
    kind = random.integers(4)
    if kind == 0:
        cv2.rectangle(picture, (x - a, y - b), (x + a, y + b), colour, -1)
    elif kind == 1:
        cv2.ellipse(picture, (x, y), (a, b), random.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    else:
        across, down = random.normal(0, unit * 0.15, 2)
        thickness = max(1, int(unit * random.uniform(0.004, 0.05)))
        cv2.line(picture, (x, y), (int(x + across), int(y + down)), colour, thickness, cv2.LINE_AA)


def _draw_colour(vivid: float, random: np.random.Generator) -> Colour:
    """Draws a colour; `vivid` is 0 for grey to 1 for saturated."""
    colour = random.uniform(15, 240, 3)
    red, green, blue = (colour.mean() + vivid * (colour - colour.mean())).astype(int).tolist()
    return red, green, blue


def _encode(image: Image, finish: Finish, noise: np.random.Generator) -> bytes:
    """Applies light and lens to an image (H, W, 3) RGB and returns it as a JPEG file."""
    if finish.blur > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), finish.blur)
    reach = np.round(finish.shake * min(1.0, 5 / max(float(np.linalg.norm(finish.shake)), 1e-6))).astype(int)
    if reach.any():  # a movement of at most five pixels
        middle = np.abs(reach)
        kernel = np.zeros((2 * middle[1] + 1, 2 * middle[0] + 1), np.float32)
        cv2.line(kernel, (middle - reach).tolist(), (middle + reach).tolist(), 1.0)
        image = np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)

    levels = np.arange(256) / 255
    tables = [255 * np.clip(levels**finish.gamma * gain, 0, 1) for gain in finish.gain]
    image = cv2.LUT(image, np.stack(tables, axis=1).astype(np.uint8)[None])  # (1, 256, 3)
    if finish.noise > 0.5:
        grain = np.empty(image.shape, np.int8)
        cv2.setRNGSeed(int(noise.integers(2**31)))
        cv2.randn(grain, 0, finish.noise)
        image = cv2.add(image, grain, dtype=cv2.CV_8U)

    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, finish.quality])[1].tobytes()
