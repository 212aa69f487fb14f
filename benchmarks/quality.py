"""Comparison of all architectures with ``sum``, and of MMoE with a dozen weighters, on three data sets.

Usage::

    python benchmarks/quality.py run OUT [--sets womens_clothing,movielens,ads] [--seeds 3] [--jobs 2]
    python benchmarks/quality.py table OUT

``run`` is resumable, run by run. Selection uses validation only; single-task models and tuned constant weights are
always among the rows. ``table`` prints Markdown: mean ± sd of each task's metric on the test split, Δm against
single-task models, and the cost of a step. A row is marked with † if its code has changed since: the component, the
modules that every run uses, or the recipe.
"""

import argparse
import ast
import hashlib
import inspect
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtl_lightning.compare.tables import number, spread
from mtl_lightning.plugins import registry

ROOT = Path(__file__).parents[1]
SETTINGS = {"womens_clothing": [], "movielens": [], "ads": ["source.rows=100000"]}
WEIGHTERS = (
    "sum", "uncertainty", "dwa", "rlw", "gls", "imtl_l", "famo", "stch", "gradnorm", "mgda", "pcgrad", "cagrad",
    "nash_mtl", "db_mtl",
)  # fmt: skip
CORE = ("network", "module", "step", "optim", "tables", "schedule", "layers", "build", "encoders/embedding")


def architectures() -> list[str]:
    """Names of all architectures; MMoE is first, because constant weights are tried with the first one."""
    return ["mmoe", *(name for name in registry().names("architecture") if name not in ("mmoe", "single_task"))]


def fingerprint(recipe: str, configuration: str) -> str:
    """Digest of the code that a row measures."""
    files = [ROOT / "mtl_lightning" / f"{name}.py" for name in CORE]
    files += [ROOT / "recipes" / f"{name}.yaml" for name in ("base", recipe)]
    for kind, name in zip(("architecture", "weighter"), configuration.split("-"), strict=False):
        component = "constant" if name.startswith("constant") else name
        files.append(Path(inspect.getfile(registry().resolve(kind, component))))
    digest = hashlib.sha256(repr(SETTINGS[recipe]).encode())
    for file in files:
        digest.update(code(file).encode())
    return digest.hexdigest()[:16]


def code(file: Path) -> str:
    """Code of a Python file without comments and docstrings, on which no figure depends; text of other files."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def run(out: Path, sets: list[str], seeds: int, jobs: int) -> None:
    """Run the missing comparisons; store each result with the fingerprints of its rows."""
    for recipe in sets:
        grids = {
            "architectures": [f"architecture={','.join(architectures())}", "weighter=sum"],
            "weighters": ["architecture=mmoe", f"weighter={','.join(WEIGHTERS)}"],
        }
        for name, grid in grids.items():
            command = [
                sys.executable, "-m", "mtl_lightning", "compare", f"recipe={recipe}", *grid, *SETTINGS[recipe],
                f"seeds={seeds}", "confirm=0", f"jobs={jobs}", f"out={out / recipe}",
            ]  # fmt: skip
            if subprocess.run(command).returncode:
                raise SystemExit(f"{' '.join(command)} failed; the same command resumes")
            result = json.loads((out / recipe / "result.json").read_text())
            result["date"] = time.strftime("%d %B %Y")
            for row in result["configurations"]:
                row["fingerprint"] = fingerprint(recipe, row["name"])
            (out / f"{recipe}.{name}.json").write_text(json.dumps(result, indent=1))


def rows(result: dict[str, Any]) -> Iterator[str]:
    """Rows of a comparison's table, best validation score first."""
    tasks = result["tasks"]
    heads = [f"{task}, {facts['metric']}" for task, facts in tasks.items()]
    yield f"| | {' | '.join(heads)} | Δm % | validation score | parameters | ms a step | peak MB |"
    yield "|---" * (len(heads) + 6) + "|"
    for row in sorted(result["configurations"], key=lambda entry: -(entry["validation_score"]["mean"] or 0)):
        old = "" if row["fingerprint"] == fingerprint(result["recipe"], row["name"]) else " †"
        tuned = " (tuned)" if row["tuned"] else ""
        values = [spread(row["tasks"][task]) for task in tasks]
        cells = [
            f"`{row['name']}`{tuned}{old}", *values, number(row["delta_m"], "+.2f"),
            number(row["validation_score"]["mean"]), number(row["parameters"], ",.0f"), number(row["step_ms"], ".1f"),
            number(row["peak_memory_mb"], ",.0f"),
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def table(out: Path) -> None:
    """Print the tables of all finished comparisons."""
    for path in sorted(out.glob("*.*.json")):
        result = json.loads(path.read_text())
        recipe, what = path.name.split(".")[:2]
        print(f"### {recipe}, {what}\n\n{result['date']}, {len(result['seeds'])} seeds.\n")
        print("\n".join(rows(result)))
        print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "table"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", default=",".join(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.action == "run":
        run(arguments.out, arguments.sets.split(","), arguments.seeds, arguments.jobs)
    else:
        table(arguments.out)
