"""torch-rechub and DeepCTR-Torch on the rows of rows.py, each with its own trainer. Runs in the peers' environment.

Usage: ``python peers.py CONTENDER ROWS VOCABULARY BATCH THREADS [DEVICE]`` prints one JSON line.

Only torch-rechub takes a device.
"""

import json
import sys
import time
from collections.abc import Callable

import torch
from rows import EXPERT_HIDDEN, EXPERTS, LR, NUMERIC, TASKS, TOWER_HIDDEN, WIDTH, Rows, make


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and processor time, which is less sensitive to other programs."""
    start, used = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - used


def rechub(data: Rows, batch: int, device: str = "cpu") -> tuple[float, float]:
    """Seconds of one epoch of torch-rechub's MTLTrainer."""
    from torch_rechub.basic.features import DenseFeature, SparseFeature
    from torch_rechub.models.multi_task import MMOE
    from torch_rechub.trainers import MTLTrainer
    from torch_rechub.utils.data import DataGenerator

    features = [SparseFeature(f"c{i}", vocab_size=size, embed_dim=WIDTH) for i, size in enumerate(data.sizes)]
    features += [DenseFeature(f"n{i}") for i in range(NUMERIC)]
    columns = {f"c{i}": data.ids[:, i] for i in range(len(data.sizes))}
    columns |= {f"n{i}": data.dense[:, i] for i in range(NUMERIC)}
    few = {name: column[:1] for name, column in columns.items()}
    loader, _, _ = DataGenerator(columns, data.labels).generate_dataloader(
        x_val=few, y_val=data.labels[:1], x_test=few, y_test=data.labels[:1], batch_size=batch
    )
    model = MMOE(
        features,
        ["classification"] * TASKS,
        EXPERTS,
        {"dims": EXPERT_HIDDEN},
        [{"dims": TOWER_HIDDEN} for _ in range(TASKS)],
    )
    trainer = MTLTrainer(model, ["classification"] * TASKS, optimizer_params={"lr": LR}, n_epoch=1, device=device)
    return timed(lambda: trainer.train_one_epoch(loader))


def deepctr(data: Rows, batch: int) -> tuple[float, float]:
    """Seconds of one epoch of DeepCTR-Torch's own fit."""
    from deepctr_torch.inputs import DenseFeat, SparseFeat
    from deepctr_torch.models.multitask.mmoe import MMOE

    columns = [SparseFeat(f"c{i}", vocabulary_size=size, embedding_dim=WIDTH) for i, size in enumerate(data.sizes)]
    columns += [DenseFeat(f"n{i}", 1) for i in range(NUMERIC)]
    model = MMOE(
        columns,
        num_experts=EXPERTS,
        expert_dnn_hidden_units=EXPERT_HIDDEN,
        gate_dnn_hidden_units=(),
        tower_dnn_hidden_units=TOWER_HIDDEN,
        task_types=["binary"] * TASKS,
        task_names=[f"t{i}" for i in range(TASKS)],
        l2_reg_embedding=0,
        l2_reg_linear=0,
    )
    model.compile(torch.optim.Adam(model.parameters(), lr=LR), ["binary_crossentropy"] * TASKS)
    values = {f"c{i}": data.ids[:, i] for i in range(len(data.sizes))}
    values |= {f"n{i}": data.dense[:, i] for i in range(NUMERIC)}
    return timed(lambda: model.fit(values, data.labels, batch_size=batch, epochs=1, verbose=0))


if __name__ == "__main__":
    contender, rows, vocabulary, batch, threads = sys.argv[1], *map(int, sys.argv[2:6])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    data = make(rows, vocabulary)
    seconds = {"rechub": rechub, "deepctr": deepctr}[contender](data, batch, *sys.argv[6:7])
    speeds = {"samples_per_s": rows / seconds[0], "samples_per_cpu_s": rows / seconds[1]}
    print(json.dumps({"contender": contender, "vocabulary": vocabulary, "batch": batch, **speeds}))
