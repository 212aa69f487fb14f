"""Sessions of onnxruntime, with the settings of a service."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtl_lightning.errors import MtlError
from mtl_lightning.export.extras import need


def open_session(path: Path, *, threads: int, providers: Sequence[Any] = ("CPUExecutionProvider",)) -> Any:
    """Load a model in onnxruntime.

    Args:
        path: File of the model.
        threads: Number of threads of a call of the model.
        providers: Execution providers.

    Raises:
        MtlError: If the model cannot be loaded.
    """
    onnxruntime = need("onnxruntime", "export")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False  # it would keep a plan for every number of rows
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=list(providers))
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise MtlError(f"{path} can't be loaded: {str(error).splitlines()[0]}") from error
