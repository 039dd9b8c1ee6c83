"""Wild input: what formats write, changed in odd places, broken bytes, odd poses, and how the tests try them.

The suite tries few inputs, always the same. By hand: `HPR_FUZZ=10000 pytest tests/fuzz -n 0 -o faulthandler_timeout=0`
tries as many of each test, others each time; `--hypothesis-seed=N` repeats them.
"""

import copy
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpr.errors import UserError
from hpr.poses import FloatArray, Frame
from hpr.skeleton import SKELETONS, Skeleton

BY_HAND = int(os.environ.get("HPR_FUZZ", "0"))
"""Number of tries that somebody asks for; 0 in the suite."""

Result = TypeVar("Result")

RANDOM = st.randoms(use_true_random=False)
"""Random numbers that Hypothesis draws, and makes simpler where a test fails."""


def fail_by_time(number: int, frame: object) -> NoReturn:
    """Ends a try that hangs."""
    raise AssertionError("it hangs")


def try_often(attempt: Callable[..., str], few: int, **strategies: st.SearchStrategy[Any]) -> Counter[str]:
    """Makes an attempt with drawn arguments, a few times in the suite; returns how often it came to which end."""
    counts: Counter[str] = Counter()

    @settings(
        max_examples=BY_HAND or few,
        derandomize=not BY_HAND,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(arguments=st.fixed_dictionaries(strategies))
    def try_it(arguments: dict[str, Any]) -> None:
        signal.alarm(60)
        try:
            counts[attempt(**arguments)] += 1
        finally:
            signal.alarm(0)

    signal.signal(signal.SIGALRM, fail_by_time)
    try_it()
    return counts


def unless_refused(call: Callable[[], Result]) -> Result | None:
    """Returns what a call returns, or None if it refuses in one line of moderate length that can be printed."""
    try:
        return call()
    except UserError as error:
        message = str(error)
        assert len(message.splitlines()) == 1, message
        assert len(message) <= 3000, message
        message.encode()
        return None


def put_something_else(path: Path, draw: random.Random) -> None:
    """Puts what is no file, or nothing, in the place of a file."""
    path.unlink(missing_ok=True)
    kind = draw.choice(("pipe", "folder", "nothing", path.name, "nowhere", "/dev/zero"))
    if kind in ("pipe", "folder"):
        os.mkfifo(path) if kind == "pipe" else path.mkdir()
    elif kind != "nothing":
        path.symlink_to(kind)


# Frames

_NAMES = ("a.jpg", "", "a b/ä.png", "../../x.jpg", "/abs/olute.jpg", "new\nline.jpg", "x" * 300, "…/0.jpg", "a/b/c/d/e")
_TRACKS = np.array([None, 0, 1, 2, -1, 10**12, "seven", ""], object)
_ODD_VALUES = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300, -600, 0, -0.0, 5e-324, 1e9])


def drawn_frames(draw: np.random.Generator, skeletons: tuple[Skeleton, ...], wild: bool) -> list[Frame]:
    """Returns up to four frames of one skeleton with a few people, plain ones or wild ones."""
    known = [*skeletons, *SKELETONS.values()] if wild else [*skeletons]
    skeleton, frames = known[draw.integers(len(known))], []
    for number in range(int(draw.integers(0 if wild else 1, 5))):
        image = str(draw.choice(_NAMES)) if wild and draw.random() < 0.5 else f"{number:06d}.jpg"
        regions = [draw.uniform(0, 500, (draw.integers(0, 5), 2)) for _ in range(draw.integers(0, 3))]
        people, count = int(draw.choice([0, 1, 1, 2, 3, 20] if wild else [0, 1, 2, 3])), len(skeleton)
        keypoints = draw.uniform(-50 if wild else 5, 500, (people, count, 2)).round(3)
        keypoints[draw.random((people, count)) < 0.2] = np.nan
        low = draw.uniform(0, 300, (2, people, 2))
        boxes, head_boxes = np.concatenate([low, low + draw.uniform(5, 200, (2, people, 2))], axis=2).round(3)
        scores, person_scores = draw.random((people, count)).round(3), draw.random(people).round(3)
        if wild:
            for array in (keypoints, scores, boxes, head_boxes, person_scores):
                spoil(array, draw)

        is_absent = np.isnan(keypoints).any(axis=-1)
        keypoints[is_absent] = np.nan
        flags = np.where(is_absent, 0.0, draw.choice((0.0, 0.3, 1.0, 2.0) if wild else (1.0, 2.0), (people, count)))
        others: dict[str, Any] = {"person_scores": person_scores, "number": number, "ignore_regions": tuple(regions)}
        others["track_ids"] = tuple(draw.choice(_TRACKS) if wild else person for person in range(people))
        others["size"] = None if wild and draw.random() < 0.3 else (640, 480)
        frames.append(Frame(image, skeleton, keypoints, scores, flags, boxes, head_boxes, **others))
    return frames


def spoil(array: FloatArray, draw: np.random.Generator) -> None:
    """Puts odd numbers into an array."""
    is_odd = draw.random(array.shape) < draw.choice([0, 0.02, 0.3])
    array[is_odd] = draw.choice(_ODD_VALUES, int(is_odd.sum()))


# JSON documents

_RAW = {
    "@digits@": "9" * 5000,
    "@overflow@": "1e400",
    "@negative@": "-1e400",
    "@deep@": "[" * 100_000 + "]" * 100_000,
    "@objects@": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "@nested@": "[" * 500 + "]" * 500,
    "@nested900@": "[" * 900 + "]" * 900,
}
"""What json.dumps cannot write, by what stands for it."""

_ODD: tuple[Any, ...] = (
    *(None, True, False, "", "text", "1", "\0", "\ud800", "a\nb", "é" * 300, "x" * 100_000, *_RAW),
    *([], {}, [[]], [{}], {"": []}, [[1]] * 51, [1, [2]]),
    *([value] * 51 for value in (None, 0, 1.5, "1", True, 1e308)),
    *(float("nan"), float("inf"), -float("inf"), 0, -1, 1, 7, 0.5, -0.0, 1e308, -1e308, 5e-324),
    *(2**31, 2**53 + 1, 2**63, 2**64, 10**400, 1e9),
)


def mutated_json(content: bytes, draw: random.Random) -> bytes:
    """Returns a JSON text with something odd in a few places."""
    document = json.loads(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        document = _mutated(document, draw)
    text = json.dumps(document)
    for name, raw in _RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode()


def _mutated(document: Any, draw: random.Random) -> Any:
    """Changes one place of a document, which may be the document itself."""
    places: list[tuple[Any, Any]] = []  # a container and a key in it
    stack = [document]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        places += [(node, key) for key in keys]
        stack += [node[key] for key in keys]
    if not places or draw.random() < 0.01:
        return copy.deepcopy(draw.choice(_ODD))

    # Most places are numbers of keypoints: half of the time, a place elsewhere is taken.
    if draw.random() < 0.5:
        places = [(c, k) for c, k in places if not isinstance(c, list) or isinstance(c[k], dict | list)] or places
    container, key = draw.choice(places)
    value, keys = container[key], list(container) if isinstance(container, dict) else list(range(len(container)))
    kind = draw.choice(("odd", "odd", "odd", "delete", "duplicate", "type", "nest", "rename", "swap", "cut"))
    if kind == "delete":
        del container[key]
    elif kind == "duplicate":
        twin = json.loads(json.dumps(value))  # goes deeper than deepcopy
        if isinstance(container, list):
            container.insert(draw.choice(keys), twin)
        else:
            container[draw.choice((f"{key}2", "id", "keypoints", "odd\nkey", "x" * 3000, "\ud800"))] = twin
    elif kind == "rename" and isinstance(container, dict):
        container[draw.choice((f"{key}s", key[:-1], "a\nb", key.upper(), *keys))] = container.pop(key)
    elif kind == "swap":
        other = draw.choice(keys)
        container[key], container[other] = container[other], value
    elif kind == "nest":
        for _ in range(draw.choice((1, 2, 50, 150))):
            container[key] = [container[key]] if draw.random() < 0.5 else {"a": container[key]}
    elif kind == "cut" and isinstance(value, list | str):
        container[key] = value[: draw.randint(0, len(value))]
    elif kind == "type":
        number = value if isinstance(value, int | float) and abs(value) < 2**53 else 1
        retyped = (str(value)[:100], [value], {"0": value}, bool(value), number + 0.5, -number, float(number))
        container[key] = draw.choice((*retyped, *([[*value]] if isinstance(value, dict) else [])))
    else:
        container[key] = copy.deepcopy(draw.choice(_ODD))
    return document


# Bytes

_INSERTED = (b"\0", b"\xff\xfe", b"[", b"}", b",", b'"', b"-", b"e", b"9")
_WHOLE = (b"", b"null", b"[]", b"{}", b"0", b'""', b"\xff\xfe", b"NaN", b" ", b"PK\x03\x04", b"\xff\xd8\xff", b"GIF89a")


def mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    """Returns damaged bytes, or bytes in another encoding."""
    low, high = sorted((draw.randint(0, len(content)), draw.randint(0, len(content))))
    encoding = draw.choice(("utf-16", "utf-32", "utf-16-le", "utf-7"))
    changed = bytearray(content)
    for _ in range(draw.choice((1, 2, 8)) if changed else 0):
        index = draw.choice((draw.randrange(len(changed)), draw.randrange(64) % len(changed)))
        changed[index] = draw.choice((draw.randrange(256), *b'0129-."e[]{},:'))
    makers: tuple[Callable[[], bytes], ...] = (
        *[lambda: bytes(changed)] * 2,
        lambda: content[:low],
        lambda: content[:-1],
        lambda: content[:low] + content[high:],
        lambda: content[:high] + content[low : low + 50] + content[high:],
        lambda: content[:low] + draw.choice(_INSERTED) + content[low:],
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.decode("utf-8", "replace").encode(encoding),
        lambda: content + draw.choice((b"\n", b"\0", b"{}", content[:100], b"\xff")),
        lambda: content.replace(b",", b",\r\n"),
        lambda: draw.choice((*_WHOLE, _RAW["@deep@"].encode(), _RAW["@digits@"].encode())),
    )
    return draw.choice(makers)()
