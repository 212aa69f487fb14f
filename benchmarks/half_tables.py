"""Tables in bfloat16 against float32 on ``ads``: figures on the test split, memory of tables and state, and time.

    python benchmarks/half_tables.py [--rows 50000] [--epochs 2] [--seeds 2]

The model of ``benchmarks/seams.py`` is used. Prints a Markdown table: means over seeds, each of which is another world,
and CPU seconds of training and test.
"""

import argparse
import logging
import time
import warnings
from dataclasses import replace

import numpy as np
import torch
from seams import WORLDS, run

from mtl_lightning.build import build_network
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 50_000), ("epochs", 2), ("seeds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    world = WORLDS["ads"]
    print("| table_dtype | click | conversion | dwell, RMSE | tables, kB | CPU s |\n|---|---|---|---|---|---|")
    for dtype in ("float32", "bfloat16"):
        encoder, figures, started = {"name": "embedding", "table_dtype": dtype}, [], time.process_time()
        for seed in range(arguments.seeds):
            data = DataModule(Simulator(rows=arguments.rows, seed=seed), seed=seed, **world.data)
            data.prepare()
            model = replace(world, model={**world.model, "encoder": encoder})
            figures.append(run(model, data, {"name": "sum"}, arguments.epochs, seed))
        (table,) = build_network(data.schema, encoder=encoder).encoder.table_parameters()
        size, seconds = table.numel() * table.element_size() / 1000, time.process_time() - started
        means = [f"{value:.4f}" if value < 1 else f"{value:.2f}" for value in np.mean(figures, axis=0)]
        print(f"| `{dtype}` | {' | '.join(means)} | {size:,.0f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
