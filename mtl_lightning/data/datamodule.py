"""The data of a run as a LightningDataModule, from a recipe or from rows in memory."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from lightning.pytorch import LightningDataModule
from typing_extensions import override

from mtl_lightning.batch import Batch
from mtl_lightning.data.features.build import Feature, Spec, read_features
from mtl_lightning.data.preparation.column_uses import column_uses, read_for
from mtl_lightning.data.preparation.lookups import LookupFiles
from mtl_lightning.data.preparation.prepare import prepare
from mtl_lightning.data.preparation.prepared import Prepared, Transforms
from mtl_lightning.data.preparation.split import SplitSpec, read_split
from mtl_lightning.data.readers.frames import Frame
from mtl_lightning.data.settings import DataConfig, usual_batch_size
from mtl_lightning.data.store.device_store import DeviceStore, DeviceStores, Place
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.data.store.store import Store
from mtl_lightning.data.targets.tasks import TaskSpec, long_form, read_tasks
from mtl_lightning.executors.base import Executor
from mtl_lightning.interfaces import RawSchema, Source
from mtl_lightning.schema import Schema, Task
from mtl_lightning.training.rows import HOST
from mtl_lightning.training.transfer import pack_batch, send_batch
from mtl_lightning.validation.review import Review

IN_MEMORY = 8 << 30
"""Largest Store, in bytes, that is shuffled as a whole; the same on every machine, so that processes agree."""
POOL = 1 << 20
"""Rows in memory at a time for larger Stores."""
AHEAD = 4
"""Batches that a thread prepares ahead of their use on a device."""
LARGE = 50_000_000
"""Rows above which the order of training rows is a function; the same on every machine, as ``IN_MEMORY``."""

TaskSpecs = Mapping[str, TaskSpec] | Iterable[Task]


class DataModule(LightningDataModule):
    """Prepares a source once and gives each process its part of every batch.

    Args:
        source: Where rows come from.
        features: Model inputs by name, as a recipe has them or as records; None for what the source suggests.
        tasks: What is predicted: by name, or records; None for what the source suggests.
        split: How rows are divided; a :class:`SplitSpec` or its options. None for the source's own splits if it has
            any, otherwise by its time if it has one, otherwise random.
        raw: Raw numeric columns that heads, losses or metrics declare; oracles of tasks are added.
        group: Column with the user, for metrics within users.
        batch_size: Rows per step and process in training; ``auto`` for
            :func:`~mtl_lightning.data.settings.usual_batch_size` of the training rows.
        eval_batch_size: Rows per step and process elsewhere.
        seed: Seed of the order of training rows.
        pool: Rows in memory at a time where the Store is larger than memory; None for all of a Store up to
            :data:`IN_MEMORY` bytes, otherwise :data:`POOL` rows.
        order: ``array`` or ``function``: whether the order of training rows is drawn as a whole or computed for each
            batch; ``auto`` for a function above :data:`LARGE` rows.
        resident: ``device`` or ``host``: where rows are kept and batches are gathered. ``auto`` for a GPU where they
            fit in half of its free memory. Batches are the same.
        prefetch: Batches that a thread prepares ahead of their use; None for :data:`AHEAD` where they go to a device,
            and 0 on a CPU.
        cache_dir: Where prepared data is kept; None for ``MTL_CACHE`` or the user's cache directory.
        base: Fitted transforms of an earlier run to warm-start from: known values keep their ids.
        accept: Names of findings that are expected: ``leak:<feature>:<task>`` lets a feature read a part of a label.
        request: Columns whose values are equal in the rows of a request; see
            :class:`~mtl_lightning.data.settings.DataConfig`.
        per_request: Features that are constant within a request; None for those that are in all rows.
        lookup: Side tables by name; see :class:`~mtl_lightning.data.preparation.lookups.LookupFiles`.
        executor: What encodes the parts of the source; None for threads.

    Raises:
        DataError: If features or tasks are wrong; from :meth:`prepare`, if rows can't be read or used.

    Example:
        >>> import tempfile
        >>> rows = {"user": ["a", "b"] * 10, "price": [1.0, 2.0] * 10, "click": [0, 1, 1, 0] * 5}
        >>> data = DataModule.from_frame(rows, features={"user": "categorical", "price": "numeric"},
        ...                              tasks={"click": "binary"}, batch_size=8, cache_dir=tempfile.mkdtemp())
        >>> data.schema.field("user").size, [len(batch) for batch in data.train_dataloader()]
        (4, [8, 8])
    """

    def __init__(
        self,
        source: Source,
        *,
        features: Mapping[str, Spec] | None = None,
        tasks: TaskSpecs | None = None,
        split: SplitSpec | Mapping[str, Any] | None = None,
        raw: Iterable[str] = (),
        group: str | None = None,
        batch_size: int | Literal["auto"] = 1024,
        eval_batch_size: int = 8192,
        seed: int = 0,
        pool: int | None = None,
        order: Literal["auto", "array", "function"] = "auto",
        resident: Place = "auto",
        prefetch: int | None = None,
        cache_dir: Path | str | None = None,
        base: Transforms | None = None,
        accept: Iterable[str] = (),
        request: Iterable[str] = (),
        per_request: Iterable[str] | None = None,
        lookup: Mapping[str, Any] | None = None,
        executor: Executor | None = None,
    ) -> None:
        super().__init__()
        self.per_request = None if per_request is None else tuple(per_request)
        self.source = source
        self.lookups = {name: LookupFiles(name, options) for name, options in (lookup or {}).items()}
        review = Review()
        sizes = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "pool": pool}
        given = request if isinstance(request, str) else [*request]
        review.record(
            "data", DataConfig, {**sizes, "order": order, "resident": resident, "prefetch": prefetch, "request": given}
        )
        if executor is not None and not isinstance(executor, Executor):
            review.problem("data.executor", f"is {executor!r}, not an Executor", "as Processes(workers=8)")
        self.request = tuple(given)
        own_features = None if features is None else read_features(features, review)
        own_tasks = None if tasks is None else _read_tasks(tasks, review)
        own_split = _read_split(split, review) if split else None
        review.raise_problems()
        if own_features is not None and own_tasks is not None:  # a source that suggests them has types of its own
            keys = [*given, *(files.on for files in self.lookups.values())]
            read_for(source, column_uses(own_features, own_tasks, own_split, group, raw, keys), base)
        if own_features is None or own_tasks is None or own_split is None:
            suggested = source.schema()
            own_features = read_features(suggested.features, review) if own_features is None else own_features
            own_tasks = _read_tasks(suggested.tasks, review) if own_tasks is None else own_tasks
            own_split = own_split or _read_split(_usual_split(suggested), review)
            review.raise_problems()
        assert own_split is not None
        self.features: dict[str, Feature] = own_features
        self.tasks = own_tasks
        self.split = own_split
        self.raw = tuple(raw)
        self.group = group
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.pool = pool
        self.order = order
        self.resident = resident
        self.prefetch = prefetch
        self._on_device: DeviceStores | None = None
        self.cache_dir = cache_dir
        self.base = base
        self.accept = tuple(accept)
        self.executor = executor
        self._prepared: Prepared | None = None

    @classmethod
    def from_frame(cls, rows: Any, **options: Any) -> Self:
        """Data from rows in memory.

        Args:
            rows: A pandas frame, ``pa.Table``, ``datasets.Dataset`` or mapping of columns, or a mapping from split
                (``train``, ``validation``, ``test``) to such tables.
            options: As for the constructor.
        """
        return cls(Frame(rows=rows), **options)

    def prepare(self) -> Prepared:
        """Prepare the data or open data prepared before; further calls return the same object."""
        if self._prepared is None:
            self._prepared = prepare(
                self.source,
                features=self.features,
                tasks=self.tasks,
                split=self.split,
                raw=self.raw,
                group=self.group,
                cache_dir=self.cache_dir,
                base=self.base,
                accept=self.accept,
                lookups=self.lookups,
                request=self.request,
                per_request=self.per_request,
                executor=self.executor,
            )
        return self._prepared

    def __repr__(self) -> str:
        rows = "not prepared"
        if self._prepared is not None:
            rows = ", ".join(f"{split} {len(store):,}" for split, store in self._prepared.stores.items())
        tasks = ", ".join(task.name for task in self.tasks)
        source = getattr(self.source, "name", "") or type(self.source).__name__
        return f"DataModule({source}: {len(self.features)} features, tasks {tasks}, split by {self.split.by}; {rows})"

    __str__ = __repr__  # Lightning's own needs attributes that loaders don't have

    def __getstate__(self) -> dict[str, Any]:
        # Spawned processes open the prepared data instead of receiving a copy of all rows.
        return {**self.__dict__, "_prepared": None, "_on_device": None}

    @property
    def prepared(self) -> Prepared:
        """The prepared data."""
        return self.prepare()

    @property
    def schema(self) -> Schema:
        """The fitted schema, from which networks are built."""
        return self.prepared.schema

    def prepare_data(self) -> None:
        """Prepare, on one process per machine."""
        self.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Open the Stores, on every process."""
        self.prepare()

    def loader(self, split: str, *, shuffle: bool = False, batch_size: int | None = None) -> Loader:
        """A loader of one split for this process.

        Args:
            split: ``train``, ``validation`` or ``test``.
            shuffle: A new order each epoch.
            batch_size: Rows per step and process; None for ``eval_batch_size``.
        """
        trainer = self.trainer
        store = self.prepared.stores[split]
        large = len(store) > LARGE and store.requests is None
        ahead = (0 if self._device.type in HOST else AHEAD) if self.prefetch is None else self.prefetch
        training = split == "train" and shuffle
        on_device = self._device_store(split, store, training)
        return Loader(
            store if on_device is not None or self._on_device is None else self._on_device.with_events(store),
            batch_size or self.eval_batch_size,
            shuffle=shuffle,
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            world=trainer.world_size if trainer else 1,
            pool=self.pool or (POOL if store.bytes > IN_MEMORY else None),
            function=shuffle and (large if self.order == "auto" else self.order == "function"),
            on_device=on_device,
            pack=partial(pack_batch, device=self._device, training=training) if ahead else None,
            ahead=ahead,
        )

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _device_store(self, split: str, store: Store, training: bool) -> DeviceStore | None:
        """The rows of a split on the Trainer's device, if they are kept there."""
        device = self._device
        if self._on_device is None or self._on_device.device != device:
            self._on_device = DeviceStores(device, self.resident)
        # In training, only metrics would read the true expectations of labels.
        oracles = {f"raw/{name}" for task in self.tasks for name in task.oracles} if training else ()
        return self._on_device.get(split, store, oracles)

    def train_dataloader(self) -> Loader:
        """Shuffled training rows."""
        rows = len(self.prepared.stores["train"])
        size = usual_batch_size(rows) if self.batch_size == "auto" else self.batch_size
        return self.loader("train", shuffle=True, batch_size=size)

    @override
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Return a batch on a device, after one copy for which the host does not wait."""
        return send_batch(batch, device, training=bool(self.trainer and self.trainer.training))

    def val_dataloader(self) -> Loader | list[Loader]:
        """Validation rows; an empty list if there are none."""
        return self._evaluation("validation")

    def test_dataloader(self) -> Loader | list[Loader]:
        """Test rows; an empty list if there are none."""
        return self._evaluation("test")

    def predict_dataloader(self) -> Loader | list[Loader]:
        """Test rows in their order."""
        return self._evaluation("test")

    def _evaluation(self, split: str) -> Loader | list[Loader]:
        loader = self.loader(split)
        return loader if len(loader) else []


def _read_tasks(specs: TaskSpecs, review: Review) -> tuple[Task, ...]:
    return read_tasks(long_form(specs if isinstance(specs, Mapping) else {task.name: task for task in specs}), review)


def _read_split(split: SplitSpec | Mapping[str, Any], review: Review) -> SplitSpec | None:
    return split if isinstance(split, SplitSpec) else read_split(split, review)


def _usual_split(suggested: RawSchema) -> dict[str, Any]:
    if suggested.splits:
        return {"by": "given"}
    return {"by": "time", "column": suggested.time} if suggested.time else {"by": "random"}
