"""Architectures in the simulator's world ``conflict``, where one task depends on opposed tastes.

    python benchmarks/conflict.py OUT.jsonl [--seeds 3]

Each model is trained by ``sum`` with the settings of ``benchmarks/seams.py``. Prints a Markdown table of expected AUC
on the test split, as means over seeds, each of which is another world. Results in OUT are not computed again.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from seams import WORLDS, run
from trials import begin, keep

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator

WORLD = WORLDS["conflict"]
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "`mmoe`, 4 experts": WORLD.model["architecture"],
    "`onerank`": {"name": "onerank"},
    "`smes`, 8 experts": {"name": "smes", "experts": 8, "hidden": [32, 16]},
}


def main() -> None:
    """Run the missing trainings and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    out = arguments.out
    lines = begin(out)
    known = {(line["architecture"], line["seed"]): line["figures"] for line in lines}
    for seed in range(arguments.seeds):
        data = DataModule(Simulator(rows=WORLD.rows, seed=seed, **WORLD.source), seed=seed, **WORLD.data)
        data.prepare()
        for name, architecture in ARCHITECTURES.items():
            if (name, seed) not in known:
                world = replace(WORLD, model={**WORLD.model, "architecture": architecture})
                figures = known[name, seed] = run(world, data, {"name": "sum"}, WORLD.epochs, seed)
                keep(out, architecture=name, seed=seed, figures=figures)
    first = next(iter(ARCHITECTURES))
    print(f"| architecture | {' | '.join(WORLD.metrics)} | hide, against {first} |\n|---|---|---|---|---|")
    for name in ARCHITECTURES:
        values = np.array([known[name, seed] for seed in range(arguments.seeds)])
        change = values[:, -1] - np.array([known[first, seed][-1] for seed in range(arguments.seeds)])
        span = "–" if name == first else f"{change.min():+.3f} to {change.max():+.3f}"
        print(f"| {name} | {' | '.join(f'{x:.4f}'[1:] for x in values.mean(0))} | {span} |")


if __name__ == "__main__":
    main()
