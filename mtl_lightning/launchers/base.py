"""The contract of launchers: start the processes that train a run."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mtl_lightning.errors import MtlError


class LaunchError(MtlError):
    """The processes of a run failed, and the launcher gave up.

    Args:
        message: The reason.
        hint: What to do about it.
    """


class Launcher(ABC):
    """Starter of the processes of a run, on this machine or on others. Built as ``(*, options)``; it can be pickled.

    All processes reach the run directory, the source's files and ``data.cache_dir`` at the same paths.

    Example:
        >>> class Here(Launcher):
        ...     def launch(self, train, directory, timeout):
        ...         train()
        >>> Here().launch(lambda: print("training"), Path("run"), 60.0)
        training
    """

    @abstractmethod
    def launch(self, train: Callable[[], None], directory: Path, timeout: float) -> None:
        """Call a function in every process of the run, and wait for all of them.

        Before the call, the environment has ``RANK``, ``LOCAL_RANK`` and ``WORLD_SIZE``, the process is in the caller's
        directory, and the process group exists if there are several processes. After a process has died, the function
        may be called again in new processes: it resumes the run from its latest checkpoint.

        Args:
            train: The function, which can be pickled.
            directory: The run directory.
            timeout: Seconds after which a collective gives up.

        Raises:
            LaunchError: If processes fail too often.
            MtlError: If processes can't be started. An ``MtlError`` of the function is raised as it is, at once, unless
                its cause may be a lost process (``TrainingError``).
        """

    def trainer_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the Trainer in a process of the run.

        Args:
            options: The recipe's ``trainer`` section.

        Returns:
            The arguments, which may include ``strategy``, ``plugins`` and further ``callbacks``.

        Raises:
            MtlError: If the section contradicts the launcher.
        """
        return dict(options)
