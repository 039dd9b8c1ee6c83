"""Where weights are: by a name, in the package, in the current folder or in the user's cache; or at a path."""

import os
from pathlib import Path

from hpr.errors import UserError

ASSETS = Path(__file__).resolve().parents[1] / "assets"
"""The weights that come with the package, and the sample."""

PUBLISHED = Path("model/snapshot-515000.safetensors")
"""Where `hpr port` writes the published weights."""

_BUNDLED = {"photo": ASSETS / "photo.safetensors", "demo": ASSETS / "demo.safetensors"}


def find_weights(name_or_path: str | Path) -> Path:
    """Returns the path of weights.

    Args:
        name_or_path: "photo", the photograph refiner; "demo", for the drawn people of the sample; "published", the
            ported weights of the paper, in the current folder or in the user's cache; or a path, which is returned as
            it is.

    Raises:
        UserError: The published weights are at neither place, or something else names neither weights nor a file.
    """
    name = str(name_or_path)
    if name in _BUNDLED:
        return _BUNDLED[name]
    if name == "published":
        places = (PUBLISHED, _cache() / PUBLISHED.name)
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            looked = " or ".join(map(str, places))
            remedy = "port them with hpr port checkpoint=model/snapshot-515000"
            raise UserError(f"published weights: expected {looked}, found neither; {remedy}")
        return found

    path = Path(name_or_path)
    if path.suffix == "" and not path.exists():
        expected = f"expected {', '.join(_BUNDLED)}, published or a .safetensors file"
        raise UserError(f"{name}: no such weights; {expected}")
    return path


def _cache() -> Path:
    """Returns the folder of the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpr"
