"""Parts in threads of this process."""

import concurrent.futures
from collections.abc import Callable
from typing import Any, ClassVar

from typing_extensions import override

from mtl_lightning.executors.pool import PoolExecutor


class Threads(PoolExecutor):
    """Parts in threads of this process: Arrow and numpy release the interpreter's lock for most of their time.

    Args:
        workers: Number of threads; None for one per core, at most four.

    Example:
        >>> with Threads(workers=2) as executor:
        ...     list(executor.map(str.upper, ["a", "b"]))
        ['A', 'B']
    """

    shares_memory: ClassVar[bool] = True

    @override
    def start(self, function: Callable[[Any], Any]) -> concurrent.futures.Executor:
        return concurrent.futures.ThreadPoolExecutor(self.workers, thread_name_prefix="part")
