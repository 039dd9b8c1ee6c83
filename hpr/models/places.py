"""Where weights are: bundled ones by name, others by path."""

import os
from pathlib import Path

from hpr.errors import UserError

ASSETS = Path(__file__).resolve().parents[1] / "assets"
"""The weights and the sample that come with the package."""

PUBLISHED = Path("model/snapshot-515000.safetensors")
"""Where `hpr port` writes the published weights."""

_NAMED = {"photo": ASSETS / "photo.safetensors", "demo": ASSETS / "demo.safetensors", "published": PUBLISHED}

_PUBLISHED_ADDRESS = "https://drive.google.com/open?id=1BEDB_zX8-0XrpdBimYAN4GwaAVAUrrBJ"


def weights_cache() -> Path:
    """Returns the user's folder of weights, which is the same from everywhere."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpr"


def find_weights(weights: str | Path) -> Path:
    """Returns the file that a name or a path means.

    A file that is not there is looked for by its name in `weights_cache`.

    Args:
        weights: "photo", "demo", "published", or a path.

    Raises:
        UserError: There is no such file.
    """
    path = _NAMED.get(str(weights), Path(weights))
    for place in (path, weights_cache() / path.name):
        if place.exists():
            return place
    if path.name == PUBLISHED.name:
        remedy = f"download {_PUBLISHED_ADDRESS} and run: hpr port checkpoint=snapshot-515000.zip output={path}"
        raise UserError(f"{path}: the published weights are not here, nor in {weights_cache()}; {remedy}")
    remedy = f"expected {', '.join(_NAMED)}, or a file of hpr port or hpr train"
    raise UserError(f"{path}: no such weights, nor in {weights_cache()}; {remedy}")
