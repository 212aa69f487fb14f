"""Pictures of the documentation, made from real runs.

Usage: ``python benchmarks/pictures.py WORK [NAME …]``

Runs and pages are stored in ``WORK`` and reused; pictures go to ``docs/pictures``. Needs Chromium and Pillow
(``pip install -c constraints.txt pillow``). Takes about five minutes on two cores.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from mtl_lightning.report.render.heatmap import heatmap
from mtl_lightning.report.render.html import document

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
LARGEST = 150_000
"""Largest size of a picture in bytes."""
ROWS = 60_000
CHROMIUM = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip

Box = tuple[str, str]
"""Title of a box of the flow and the line below it."""


def command(work: Path, *arguments: str) -> None:
    """Run a command of the package in the working directory."""
    environment = {**os.environ, "MTL_CACHE": str(work / "cache")}
    subprocess.run([sys.executable, "-m", "mtl_lightning", *arguments], cwd=work, env=environment, check=True)


def training_run(work: Path) -> Path:
    """Directory of a finished run of the recipe ads, with a detailed evaluation."""
    run = work / "ads"
    if not (run / "evaluation.html").exists():
        shutil.rmtree(run, ignore_errors=True)
        settings = (f"source.rows={ROWS}", "run.evaluation=true", "run.slices=[new_users]")
        command(work, "fit", "recipe=ads", *settings, f"run.dir={run}")
    return run


def comparison(work: Path) -> Path:
    """Directory of a finished comparison in the simulated world conflict, where one task is opposed."""
    out = work / "compare"
    if not (out / "report.html").exists():
        settings = ("architecture=shared_bottom", "weighter=sum", "constants=0", "seeds=3", "jobs=1")
        command(work, "compare", "recipe=conflict", *settings, f"out={out}")
    return out


def screenshot(page: Path, picture: Path, height: int, width: int = 1000) -> None:
    """Open a page without a window, and save its upper part in few colours.

    Raises:
        SystemExit: If the picture is too large for a repository.
    """
    with tempfile.TemporaryDirectory() as profile:
        options = (f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={picture}")
        subprocess.run(
            ["chromium", *CHROMIUM, *options, page.resolve().as_uri()], check=True, capture_output=True, timeout=120
        )
    with Image.open(picture) as image:
        small = image.convert("RGB").quantize(64)
    small.save(picture, optimize=True)
    size = picture.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{picture} has {size} bytes, at most {LARGEST}: take less of the page")
    print(f"{picture.name}: {size / 1000:.0f} kB")


def flow_boxes(run: Path) -> list[list[Box]]:
    """Boxes of the flow, a list per line of the picture, with the figures of a run."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    schema: dict[str, Any] = json.loads((run / "schema.json").read_text())
    cost: dict[str, Any] = json.loads((run / "resources.json").read_text())
    test = json.loads((run / "metrics.json").read_text())["test"]["metrics"]
    tasks = [task["name"] for task in schema["tasks"]]
    return [
        [
            ("raw log", f"{config['source']['rows']:,} rows"),
            ("source", config["source"]["name"]),
            ("preparation", "clean, fit, encode"),
            ("store", f"{cost['bytes']['store'] / 1e6:.1f} MB on disk"),
            ("batch", f"{len(schema['fields'])} features"),
        ],
        [
            ("encoder", config["encoder"]["name"]),
            ("architecture", config["architecture"]["name"]),
            ("heads", ", ".join(tasks)),
            ("losses", "one per task"),
            ("weighter", f"{config['weighter']['name']}, one backward"),
        ],
        [
            ("metrics", f"{tasks[0]} AUC {test[f'test/{tasks[0]}/auc']:.3f}"),
            ("report", "relations, evaluation"),
            ("export", "ONNX, transforms"),
            ("service", "POST /score"),
        ],
    ]


def flow_svg(lines: list[list[Box]], caption: str) -> str:
    """The flow as SVG, readable on light and dark pages.

    Args:
        lines: Boxes, a list per line; each line continues the one above it.
        caption: Text below the boxes.
    """
    width, height, gap, pitch = 158, 52, 20, 88
    columns = max(len(line) for line in lines)
    total = columns * width + (columns + 1) * gap
    bottom = len(lines) * pitch
    parts = []
    for row, line in enumerate(lines):
        y = 16 + row * pitch
        for column, (title, detail) in enumerate(line):
            x = gap + column * (width + gap)
            middle = x + width / 2
            parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>')
            parts.append(f'<text x="{middle}" y="{y + 22}" class="title">{escape(title)}</text>')
            parts.append(f'<text x="{middle}" y="{y + 40}">{escape(detail)}</text>')
            if column + 1 < len(line):
                parts.append(f'<path d="M{x + width} {y + height / 2}h{gap - 3}" marker-end="url(#head)"/>')
        if row + 1 < len(lines):
            right = gap + (len(line) - 1) * (width + gap) + width / 2
            left, turn = gap + width / 2, y + height + (pitch - height) / 2
            parts.append(f'<path d="M{right} {y + height}V{turn}H{left}V{y + pitch - 3}" marker-end="url(#head)"/>')
    names = "; ".join(" → ".join(title for title, _ in line) for line in lines)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {bottom + 24}" role="img">
<title>{escape(names)}</title>
<style>
text {{ font: 12px system-ui, sans-serif; text-anchor: middle; fill: #444; }}
.title {{ font-weight: bold; font-size: 14px; fill: #111; }}
.page {{ fill: #fff; stroke: none; }} rect {{ fill: #eef2fb; stroke: #6b93d6; }}
path {{ fill: none; stroke: #4a6fb0; stroke-width: 1.5; }}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0L8 4L0 8z" style="fill: #4a6fb0; stroke: none"/></marker></defs>
<rect class="page" width="{total}" height="{bottom + 24}" rx="8"/>
{chr(10).join(parts)}
<text x="{total / 2}" y="{bottom + 12}">{escape(caption)}</text>
</svg>
"""


def flow(work: Path) -> None:
    """Draw the way from a raw log to a service."""
    text = flow_svg(flow_boxes(training_run(work)), f"Figures of fit recipe=ads source.rows={ROWS}")
    (PICTURES / "flow.svg").write_text(text)


def compare(work: Path) -> None:
    """Take the page of a comparison."""
    screenshot(comparison(work) / "report.html", PICTURES / "compare.png", height=1150)


def evaluation(work: Path) -> None:
    """Take the page of a detailed evaluation."""
    screenshot(training_run(work) / "evaluation.html", PICTURES / "evaluation.png", height=1075)


def relations(work: Path) -> None:
    """Take heat maps of the relations of tasks in the shared model of a comparison."""
    result = json.loads((comparison(work) / "result.json").read_text())
    (shared,) = (entry for entry in result["configurations"] if entry["name"] == "shared_bottom-sum")
    shown = (("labels", "correlation"), ("predictions", "correlation"), ("gradients", "cosine"))
    plots = [
        heatmap(f"{kind.capitalize()}: {key}", values["tasks"], values["tasks"], values[key])
        for kind, key in shown
        for values in [shared["relations"][kind]]
    ]
    page = work / "relations.html"
    page.write_text(document("Relations between tasks (conflict)", "".join(plots)))
    screenshot(page, PICTURES / "relations.png", height=570, width=700)


def inspect(work: Path) -> None:
    """Take the page of a log's quality."""
    page = work / "inspect.html"
    if not page.exists():
        command(work, "data", "inspect", "recipe=ads", f"source.rows={ROWS}", "--html", str(page))
    screenshot(page, PICTURES / "inspect.png", height=1150)


PROGRAM: dict[str, Callable[[Path], None]] = {
    "flow": flow,
    "compare": compare,
    "evaluation": evaluation,
    "relations": relations,
    "inspect": inspect,
}


def main(arguments: list[str]) -> None:
    """Make the named pictures, or all of them.

    Raises:
        SystemExit: Without a working directory.
    """
    if not arguments:
        raise SystemExit(__doc__)
    work = Path(arguments[0]).resolve()
    work.mkdir(parents=True, exist_ok=True)
    PICTURES.mkdir(exist_ok=True)
    for name in arguments[1:] or PROGRAM:
        PROGRAM[name](work)


if __name__ == "__main__":
    main(sys.argv[1:])
