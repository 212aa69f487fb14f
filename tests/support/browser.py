"""Chromium without a window, and pages as it shows them."""

import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--dump-dom",
)  # fmt: skip
# Not part of the page: writes into the document what the browser made of it.
PROBE = """<script>
addEventListener("load", () => {
  const sizes = [...document.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect());
  const shown = sizes.filter(size => size.width > 100 && size.height > 20).length;
  const marks = [...document.querySelectorAll("circle")].filter(mark => mark.getBoundingClientRect().width > 0).length;
  document.body.dataset.seen = [document.querySelectorAll("table").length, shown, marks].join(" ");
});
</script>"""


def open_page(html: str, folder: Path, *options: str, probe: str = PROBE) -> tuple[str, list[str]]:
    """Open a page.

    Args:
        html: The page.
        folder: Folder for the page and the browser's profile.
        options: Further options of the browser, such as a size of the window.
        probe: Script that notes what the browser made of the page.

    Returns:
        The document as the browser holds it, and messages on its console.
    """
    assert CHROMIUM is not None
    file = folder / "page.html"
    file.write_text(html.replace("</head>", f"{probe}</head>"), encoding="utf-8")
    command = [CHROMIUM, *OPTIONS, *options, f"--user-data-dir={folder / 'profile'}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
