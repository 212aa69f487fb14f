"""Where fetched and generated data is kept between runs."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """``MTL_CACHE``, or ``~/.cache/mtl_lightning``; it need not exist."""
    return Path(os.environ.get("MTL_CACHE") or Path.home() / ".cache" / "mtl_lightning")
