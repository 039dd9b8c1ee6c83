"""Clothes: colours, cuts and patterns. Some of them are kept for the bundled sample and never drawn in training."""

from dataclasses import dataclass

import cv2
import numpy as np

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

_SKIN = ((255, 224, 196), (241, 194, 155), (224, 172, 125), (198, 134, 86), (141, 85, 48), (92, 56, 36))
_HAIR = ((25, 20, 18), (60, 38, 24), (110, 72, 40), (190, 150, 90), (140, 140, 140), (120, 50, 25))

# Hues (0 to 1) of clothes. Training draws from the first set only, the sample from the second.
_TRAINING_HUES = ((0.00, 0.10), (0.16, 0.42), (0.52, 0.68), (0.78, 0.92))
_SAMPLE_HUES = ((0.11, 0.15), (0.44, 0.50), (0.70, 0.76), (0.94, 0.98))
_TRAINING_PATTERNS = ("plain", "plain", "hoops", "block")
_SAMPLE_PATTERNS = ("plain", "stripes", "sash")


@dataclass(frozen=True)
class Outfit:
    """The looks of one person; cap and backpack are None if there is none.

    Attributes:
        long_hair: Whether the hair covers the neck.
        top: Colour of the shirt or coat.
        accent: Colour of the pattern, and of collar and placket, which show the front.
        pattern: "plain", "hoops" around, "block" across the chest, "stripes" downwards or a "sash".
        sleeves: "none", "short" or "long".
        bottom: Colour of trousers or skirt.
        legs: "trousers", "shorts" or "skirt".
        coat: Whether the top reaches down the thighs.
        girth: Thickness relative to the mean adult's.
    """

    skin: Colour
    hair: Colour
    long_hair: bool
    cap: Colour | None
    top: Colour
    accent: Colour
    pattern: str
    sleeves: str
    bottom: Colour
    legs: str
    coat: bool
    shoes: Colour
    backpack: Colour | None
    girth: float


def draw_outfit(random: np.random.Generator, held_out: bool) -> Outfit:
    """Draws the looks of a person; if `held_out`, in colours and patterns that training never draws."""
    patterns = _SAMPLE_PATTERNS if held_out else _TRAINING_PATTERNS
    top, bottom = _cloth(random, held_out), _cloth(random, held_out)
    return Outfit(
        skin=_varied(_SKIN[random.integers(len(_SKIN))], random, 8),
        hair=_varied(_HAIR[random.integers(len(_HAIR))], random, 10),
        long_hair=random.random() < 0.35,
        cap=_cloth(random, held_out) if random.random() < 0.15 else None,
        top=top,
        accent=_contrasting(top, random, held_out),
        pattern=patterns[random.integers(len(patterns))],
        sleeves=("none", "short", "short", "long", "long")[random.integers(5)],
        bottom=bottom,
        legs=("trousers", "trousers", "trousers", "shorts", "skirt")[random.integers(5)],
        coat=random.random() < 0.12,
        shoes=_varied((40, 40, 40), random, 35) if random.random() < 0.5 else _cloth(random, held_out),
        backpack=_cloth(random, held_out) if random.random() < 0.15 else None,
        girth=float(np.clip(random.normal(1.0, 0.12), 0.8, 1.35)),
    )


def _cloth(random: np.random.Generator, held_out: bool) -> Colour:
    """Draws the colour of a piece of clothing: a third are white, grey or black."""
    value = random.uniform(0.15, 1.0)
    if random.random() < 0.33:
        level = int(255 * value)
        return _varied((level, level, level), random, 6)
    hues = _SAMPLE_HUES if held_out else _TRAINING_HUES
    low, high = hues[random.integers(len(hues))]
    pixel = np.array([[[360 * random.uniform(low, high), random.uniform(0.3, 1.0), value]]], np.float32)
    red, green, blue = (255 * cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0]).astype(int).tolist()
    return red, green, blue


def _contrasting(colour: Colour, random: np.random.Generator, held_out: bool) -> Colour:
    """Draws colours until one differs clearly from the given one."""
    while True:
        other = _cloth(random, held_out)
        if sum(abs(a - b) for a, b in zip(colour, other, strict=True)) > 150:
            return other


def _varied(colour: Colour, random: np.random.Generator, spread: float) -> Colour:
    red, green, blue = (np.array(colour) + random.normal(0, spread, 3)).clip(0, 255).astype(int).tolist()
    return red, green, blue
