"""Cost of encoders of long histories, next to full target attention.

    python benchmarks/long_histories.py [--lengths 1000 10000] [--rows 32] [--rounds 5] [--into PAGE]
    python benchmarks/long_histories.py --candidates 100 --rows 200 [--into PAGE]

Every encoder reads the same batch: an item and a category, and a history of the given length whose events carry item,
category, an action and a gap. A round runs each encoder once in training (forward and backward, with the gradients of
the tables) and once in scoring (forward alone), one after the other in one process with one thread. Printed are medians
of CPU milliseconds per row, and how many times less than ``din`` over the whole history and than the attention of
``sim`` over all events (``top`` equal to the length). The last two rows are ``din`` over the latest 64 events, and
``embedding`` (the mean of all events), which shows what looking up all events costs.

With ``--candidates`` C the rows are C candidates of each of rows / C requests, and the history belongs to the request.
"""

import argparse
import time
from statistics import median
from typing import Any

import into
import torch

from mtl_lightning.batch import Batch, Steps
from mtl_lightning.interfaces import Encoder
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Field, Schema

ITEMS, CATEGORIES, LATEST = 100_000, 200, 64
FULL: dict[str, dict[str, Any]] = {"`din`": {"name": "din"}, "attention over all events": {"name": "sim", "top": 0}}
OTHERS: dict[str, dict[str, Any]] = {
    "`sim`, hard": {"name": "sim", "search": "hard", "category": "category"},
    "`sim`, soft": {"name": "sim"},
    "`eta`, 32 bits": {"name": "eta"},
    "`sdim`, 16 × 3 bits": {"name": "sdim"},
    "`din`, latest 64": {"name": "din", "latest": LATEST},
    "`embedding`": {"name": "embedding"},
}


def schema_of(length: int, per_request: bool = False) -> Schema:
    """Item, category, and a history of events with item, category and action."""
    item = Field(name="item", kind="categorical", size=ITEMS, table="item")
    category = Field(name="category", kind="categorical", size=CATEGORIES, table="category")
    action = Field(name="action", kind="categorical", size=4, table="seen.action")
    seen = Field(name="seen", kind="history", length=length, steps=(item, category, action), gap=True,
                 per_request=per_request)  # fmt: skip
    return Schema((item, category, seen), ())


def batch_of(schema: Schema, rows: int, length: int, candidates: int) -> Batch:
    """Random rows whose histories are full. Popularity of items follows a power law.

    Args:
        schema: As of :func:`schema_of`.
        rows: Number of rows.
        length: Number of events.
        candidates: Rows that share a history; 0 for rows without requests.
    """
    histories = rows // max(candidates, 1)
    generator = torch.Generator().manual_seed(0)

    def items(*shape: int) -> torch.Tensor:
        return 2 + (torch.rand(*shape, generator=generator).pow(3) * (ITEMS - 2)).long()

    event = items(histories, length)
    actions = torch.randint(2, 4, (histories, length), generator=generator)
    ids = torch.stack([event, 2 + event % (CATEGORIES - 2), actions], 2)
    gap = torch.rand(histories, length, generator=generator).mul(1e7).sort(1, descending=True).values
    item = items(rows)
    request = torch.arange(rows) // candidates if candidates else None
    return Batch(
        schema=schema,
        ids=torch.stack([item, 2 + item % (CATEGORIES - 2)], 1),
        dense=torch.zeros(rows, 0),
        labels=torch.zeros(rows, 0),
        mask=torch.zeros(rows, 0, dtype=torch.bool),
        steps={"seen": Steps(ids, torch.zeros(histories, length, 0), torch.full((histories,), length), gap)},
        request=request,
        request_row=torch.arange(0, rows, candidates) if candidates else None,
    )


def latest_of(batch: Batch, count: int) -> Batch:
    """The same rows with their latest events."""
    steps = batch.steps["seen"]
    assert steps.gap is not None
    ids, numbers, gap = (part[:, -count:].contiguous() for part in (steps.ids, steps.numbers, steps.gap))
    short = Steps(ids, numbers, steps.length.clamp(max=count), gap)
    return Batch(
        schema=schema_of(count, batch.request is not None), ids=batch.ids, dense=batch.dense, labels=batch.labels,
        mask=batch.mask, steps={"seen": short}, request=batch.request, request_row=batch.request_row,
    )  # fmt: skip


def seconds(encoder: Encoder, batch: Batch, *, training: bool) -> float:
    """CPU seconds of one pass."""
    encoder.train(training)
    encoder.zero_grad(set_to_none=True)
    started = time.process_time()
    with torch.set_grad_enabled(training):
        z = encoder(batch).z
    if training:
        z.square().sum().backward()
    return time.process_time() - started


def measure(length: int, rows: int, rounds: int, candidates: int) -> list[str]:
    """Rows of the table for one length."""
    schema = schema_of(length, per_request=bool(candidates))
    whole = batch_of(schema, rows, length, candidates)
    models: dict[str, tuple[Encoder, Batch]] = {}
    for name, options in (FULL | OTHERS).items():
        left = dict(options)
        count = left.pop("latest", length)
        if left.get("top") == 0:
            left["top"] = length
        torch.manual_seed(0)
        batch = whole if count == length else latest_of(whole, count)
        encoder = registry().resolve("encoder", left.pop("name"))(batch.schema, 1, **left)
        models[name] = encoder, batch if encoder.reads_requests else batch.expand()
    taken: dict[tuple[str, bool], list[float]] = {}
    for turn in range(rounds + 1):
        for name, (encoder, batch) in models.items():
            for training in (True, False):
                spent = seconds(encoder, batch, training=training)
                if turn:  # the first turn warms up
                    taken.setdefault((name, training), []).append(spent)
    costs = {key: 1000 * median(values) / rows for key, values in taken.items()}
    lines = []
    for name in models:
        cells = []
        for training in (True, False):
            own = costs[name, training]
            cells += [f"{own:.2f}", *(f"{costs[full, training] / own:.1f}" for full in FULL)]
        lines.append(f"| {length:,} | {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=0)
    into.add_option(parser, "benchmarks/results/long_histories.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    columns = ["ms", "× `din`", "× attention"]
    heads = [f"{phase}: {column}" for phase in ("training", "scoring") for column in columns]
    lines = [f"| events | encoder | {' | '.join(heads)} |", "|---" * 8 + "|"]
    for length in arguments.lengths:
        lines += measure(length, arguments.rows, arguments.rounds, arguments.candidates)
    table = "\n".join(lines)
    owner = "requests" if arguments.candidates else "rows"
    into.show(f"{into.stamp(started)}\n\n{table}", f"long_histories_of_{owner}", arguments.into)


if __name__ == "__main__":
    main()
