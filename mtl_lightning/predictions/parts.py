"""Predictions in parts, a file per block of rows, so that no part is computed twice."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.cache.locks import locked
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.files import TEMPORARY, write_atomic
from mtl_lightning.predictions.refused_rows import Scored

SUFFIX = ".parts"
"""Suffix of the folder of parts."""

PLAN = "plan.json"
"""File in the folder that says what the predictions depend on."""


class Parts:
    """Parts of an output file in the folder ``<out>.parts``; when all parts exist, ``out`` is written from them.

    Any number of processes may work on the parts, at the same time or one after the other. A block belongs to the
    process ``number % processes``, existing parts are not computed again, and the process that finds all parts joins
    them. The output is the same in all cases.

    Args:
        out: Output file.
        identity: What the predictions depend on (model, rows, batches); parts with another identity are refused.

    Raises:
        MtlError: If the folder holds parts with another identity, or cannot be written.
        DataError: If there are no rows.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp()) / "p.parquet"
        >>> blocks = [pa.table({"row": [0, 1]}), pa.table({"row": [2]})]
        >>> parts = Parts(out, {"model": "m"})
        >>> parts.write(blocks, lambda block: block, rank=1, processes=2) is None  # the first block is not its own
        True
        >>> parts.write(blocks, lambda block: block), pq.read_table(out)["row"].to_pylist()
        (3, [0, 1, 2])
    """

    def __init__(self, out: Path, identity: dict[str, Any]) -> None:
        self.out = out
        self.refused = out.with_name(f"{out.stem}.refused.parquet")
        self.folder = out.with_name(out.name + SUFFIX)
        with locked(self.folder, "the folder", "choose another out="), _write_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
            plan = self.folder / PLAN
            if not plan.is_file():
                write_atomic(plan, json.dumps(identity))
            elif _read(plan) != identity:
                raise MtlError(
                    f"{self.folder} holds predictions of another model or of other rows", "remove the folder first"
                )

    def count_written(self) -> int:
        """Return the number of parts that are written."""
        return len(list(self.folder.glob("part-*.parquet")))

    def write(
        self,
        blocks: Iterable[Block],
        predict: Callable[[Block], pa.Table | Scored],
        *,
        rank: int = 0,
        processes: int = 1,
        empty: Callable[[], pa.Table] | None = None,
    ) -> int | None:
        """Write this process's parts, and the output if all parts exist.

        Args:
            blocks: All blocks of rows, the same in every process.
            predict: Function from a block to its predictions. The refused rows of a
                :class:`~mtl_lightning.predictions.refused_rows.Scored` are written to :attr:`refused`.
            rank: Number of this process.
            processes: Number of processes.
            empty: Function that returns the output without rows; None if a source without rows is an error.

        Returns:
            Number of rows of the output; None while parts of other processes are missing.

        Raises:
            DataError: If rows cannot be used, or there are none. All parts are removed, as corrected rows have other
                predictions.
        """
        count = 0
        try:
            for number, block in enumerate(blocks):
                count += 1
                if number % processes == rank and not self._part(number).is_file():
                    self._write_result(predict(block), number)
            if not count and empty is not None:
                self._write(empty(), self._part(0))
                count = 1
            if not count:
                raise DataError("there are no rows to predict")
        except DataError:
            self._remove()
            raise
        with locked(self.folder):
            if not self.folder.is_dir():
                return None  # another process wrote the last part and joined them
            missing = sum(not self._part(number).is_file() for number in range(count))
            return None if missing else self._join(count)

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"

    def _refused_part(self, number: int) -> Path:
        return self.folder / f"refused-{number:06d}.parquet"

    def _write_result(self, result: pa.Table | Scored, number: int) -> None:
        if isinstance(result, Scored):
            if result.refused.num_rows:
                self._write(result.refused, self._refused_part(number))
            result = result.table
        self._write(result, self._part(number))  # after its refused rows, so that an existing part is complete

    def _write(self, table: pa.Table, path: Path) -> None:
        partial = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")  # two processes may have the same rank
        with _write_errors(path):
            pq.write_table(table, partial)
            partial.replace(path)

    def _join(self, count: int) -> int:
        refused = [path for number in range(count) if (path := self._refused_part(number)).is_file()]
        if refused:
            _join_files(refused, self.refused)
        rows = _join_files([self._part(number) for number in range(count)], self.out)
        self._remove()
        return rows

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.with_name(self.folder.name + ".lock").unlink(missing_ok=True)


def _join_files(parts: Sequence[Path], out: Path) -> int:
    """Write the rows of all parts to one file, which appears when it is complete, and return their number."""
    partial = out.with_name(out.name + TEMPORARY)
    rows = 0
    with _write_errors(out):
        with pq.ParquetWriter(partial, pq.read_schema(parts[0])) as writer:
            for part in parts:
                table = pq.read_table(part)
                writer.write_table(table)
                rows += table.num_rows
        partial.replace(out)
    return rows


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system into an error that names the file."""
    try:
        yield
    except OSError as error:
        raise MtlError(f"{path} can't be written: {error.strerror or error}") from error


def _read(plan: Path) -> Any:
    try:
        return json.loads(plan.read_text(encoding="utf-8"))
    except ValueError:
        return None
