"""``test.npz``: predictions and labels of the test split by row, for paired comparisons."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_lightning.analysis.preferences import ROWS, preference_grid
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import MtlError
from mtl_lightning.files import TEMPORARY
from mtl_lightning.training.network import Network

FILE = "test.npz"


def predict_store(
    network: Network, store: Store, batch_size: int, preference: torch.Tensor | None = None
) -> dict[str, NDArray[Any]]:
    """Predictions of the rows of a Store in order, with the details by which tasks are compared.

    Args:
        network: Trained network.
        store: Encoded rows.
        batch_size: Rows per batch.
        preference: Preference of each task, [T]; None for the preferences of the rows.

    Returns:
        ``prediction/<task>``, [n] or [n, K], and ``<detail>/<task>``, [n].
    """
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    batches: list[dict[str, torch.Tensor]] = []
    with torch.inference_mode():
        for batch in Loader(store, batch_size):
            moved = batch.to(device)
            moved = moved if preference is None else moved.preferring(preference.to(device))
            values, targets = network.measured(network.outputs(moved)[0], moved)
            columns = {f"prediction/{task}": value for task, value in values.items()}
            for task in network.schema.tasks:
                details = targets[task.name].details
                columns |= {f"{name}/{task.name}": details[name] for name in task.traits.compared_with}
            batches.append({name: column.cpu() for name, column in columns.items()})
    network.train(training)
    return {name: torch.cat([batch[name] for batch in batches]).numpy() for name in batches[0]}


def save_rows(
    path: Path,
    network: Network,
    store: Store,
    batch_size: int,
    scaling: Mapping[str, tuple[float, float]],
    *,
    preferences: bool = False,
) -> None:
    """Predict the rows of a Store in order; write them with labels, masks, weights, groups and details for comparisons.

    Args:
        path: The file; it appears when it is complete.
        network: Trained network.
        store: Encoded rows.
        batch_size: Rows per batch.
        scaling: a and b of Platt scaling, fitted on validation rows, of tasks that have them.
        preferences: Whether to predict a sample of rows along preferences as well.
    """
    arrays: dict[str, Any] = dict(predict_store(network, store, batch_size))
    for task in network.schema.tasks:
        arrays[f"label/{task.name}"] = np.array(store.parts["labels"][:, network.schema.label_slices[task.name]])
        column = network.schema.task_index[task.name]
        arrays[f"known/{task.name}"] = np.array(store.parts["mask"][:, column])
        if "weight" in store.parts:
            arrays[f"weight/{task.name}"] = np.array(store.parts["weight"][:, column])
        if task.name in scaling:
            arrays[f"scaling/{task.name}"] = np.array(scaling[task.name])
    if "group" in store.parts:
        arrays["group"] = np.array(store.parts["group"])
    if preferences:
        arrays |= _front(network, store, batch_size)
    partial = path.with_name(path.name + TEMPORARY)
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)


def _front(network: Network, store: Store, batch_size: int) -> dict[str, NDArray[Any]]:
    """Predictions along preferences.

    ``front/rows`` are the numbers of the rows [n], the same for all runs on these rows. Of each task there are
    ``front/preference/<task>`` [P] and ``front/prediction/<task>``, [P, n] or [P, n, K].
    """
    rows = torch.randperm(len(store), generator=torch.Generator().manual_seed(0))[:ROWS].sort().values
    grid = preference_grid(len(network.schema.tasks))
    sample = store if len(rows) == len(store) else store.take(rows)
    predictions = [predict_store(network, sample, batch_size, preference) for preference in grid]
    arrays = {"front/rows": rows.numpy()}
    for task, shares in zip(network.schema.tasks, grid.T, strict=True):
        arrays[f"front/preference/{task.name}"] = shares.numpy()
        name = f"prediction/{task.name}"
        arrays[f"front/{name}"] = np.stack([values[name] for values in predictions])
    return arrays


def read_rows(path: Path) -> dict[str, NDArray[Any]]:
    """Read a file of :func:`save_rows`.

    Raises:
        MtlError: If the file is missing or damaged.
    """
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError) as error:
        raise MtlError(f"{path} cannot be read: {error}", "train that run again") from error
