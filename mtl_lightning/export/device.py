"""Devices that predict: the CPU, or one GPU."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtl_lightning.errors import MtlError

if TYPE_CHECKING:
    import torch

CPU = "cpu"
"""The default device."""


def read_device(text: str, environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the number of a GPU, or None for the CPU.

    Args:
        text: ``cpu``, ``cuda`` or ``cuda:<number>``. Processes that torchrun started on one machine take a GPU each.
        environment: Environment variables.

    Raises:
        MtlError: If the text is none of these.

    Example:
        >>> read_device("cpu", {}), read_device("cuda", {}), read_device("cuda", {"LOCAL_RANK": "1"})
        (None, 0, 1)
        >>> read_device("cuda:3", {"LOCAL_RANK": "1"})
        3
    """
    if text == CPU:
        return None
    if not (match := re.fullmatch(r"cuda(?::(\d+))?", text, re.ASCII)):
        raise MtlError(f"device: {text!r} is unknown", "choose cpu, cuda, or cuda:1 for the second GPU")
    return int(match[1] or environment.get("LOCAL_RANK", 0))


def check_gpu(number: int) -> None:
    """Check that torch can use a GPU.

    Raises:
        MtlError: If there is no such GPU, or torch cannot use it.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= count:
        raise MtlError(
            f"device: there is no GPU {number}; torch can use {count} on this machine",
            "leave device out for the CPU; `python -m mtl_lightning doctor` lists the devices",
        )


def torch_device(text: str) -> "torch.device":
    """Return the device of torch.

    Args:
        text: See :func:`read_device`.

    Raises:
        MtlError: If the text is wrong, or torch cannot use the GPU.

    Example:
        >>> torch_device("cpu")
        device(type='cpu')
    """
    import torch

    number = read_device(text)
    if number is None:
        return torch.device(CPU)
    check_gpu(number)
    return torch.device("cuda", number)


def providers(text: str, available: Sequence[str]) -> list[Any]:
    """Return the execution providers of onnxruntime for a device.

    Args:
        text: See :func:`read_device`.
        available: Providers that the installed onnxruntime has.

    Raises:
        MtlError: If the text is wrong, or onnxruntime has no provider for GPUs.

    Example:
        >>> providers("cpu", ["CPUExecutionProvider"])
        ['CPUExecutionProvider']
    """
    number = read_device(text)
    if number is None:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in available:
        raise MtlError(f"device: the installed onnxruntime can't use {text}", "install onnxruntime-gpu in its place")
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]
