"""A picture of a report for the docs, taken by a Chromium without a window.

Usage: ``python benchmarks/screenshot.py runs/compare/ads/report.html docs/compare.png [HEIGHT]``
"""

import subprocess
import sys
import tempfile
from pathlib import Path

CHROMIUM = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip


def main(page: str, picture: str, height: str = "1900") -> None:
    """Open the page and save what is seen of it."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            ["chromium", *CHROMIUM, f"--user-data-dir={profile}", f"--window-size=1000,{height}",
             f"--screenshot={Path(picture).resolve()}", Path(page).resolve().as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    print(f"{picture}: {Path(picture).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
