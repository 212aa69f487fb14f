"""Content of checkpoints: plain containers of numbers, strings and tensors, when written and when read."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from mtl_lightning.errors import MtlError
from mtl_lightning.structure import DEEPEST, check, shown

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)
MAPPINGS = (dict, OrderedDict)
LISTS = (list, tuple, set)
PIECE = 1 << 24
"""Numbers that are checked at a time."""
MOST = 50_000_000
"""Most values of a checkpoint, each counted as often as it is referred to."""


def require_plain(value: Any, where: str = "checkpoint") -> None:
    """Check that a value can be loaded again without running code.

    Args:
        value: Nested containers of tensors, numbers and strings.
        where: Name of the value in the error.

    Raises:
        MtlError: If it contains another value; its place is named.

    Example:
        >>> from pathlib import Path
        >>> require_plain({"weights": [torch.ones(2), 1.0], "name": "ads"})
        >>> require_plain({"callbacks": {"mine": {"path": Path("x")}}})
        Traceback (most recent call last):
        ...
        mtl_lightning.errors.MtlError: checkpoint.callbacks.mine.path is a PosixPath, which no checkpoint may hold...
    """
    if isinstance(value, Tensor):
        _require_dense(value, where)
        return
    if type(value) in PLAIN:
        return
    if type(value) in MAPPINGS:
        for key, item in value.items():
            require_plain(key, f"{where} (key)")
            require_plain(item, f"{where}.{key}")
    elif type(value) in LISTS:
        for index, item in enumerate(value):
            require_plain(item, f"{where}[{index}]")
    else:
        raise MtlError(
            f"{where} is a {type(value).__name__}, which no checkpoint may hold",
            "state must be plain containers of tensors, numbers and strings",
        )


def host_copy(value: Any, copies: dict[Any, Tensor] | None = None) -> Any:
    """Copy plain content to the host's memory, so that it stays as it is while training continues.

    Args:
        value: Content that passes :func:`require_plain`.
        copies: Copies made so far. Tensors that share their values share them in the copy as well.

    Example:
        >>> weight = torch.zeros(2)
        >>> copy = host_copy({"a": weight, "b": [weight]})
        >>> weight += 1
        >>> copy["a"].tolist(), copy["a"] is copy["b"][0]
        ([0.0, 0.0], True)
    """
    copies = {} if copies is None else copies
    if isinstance(value, Tensor):
        key = (value.data_ptr(), value.device, value.dtype, value.shape, value.stride())
        if key not in copies:
            copies[key] = value.detach().to("cpu", copy=True)
        return copies[key]
    if type(value) in MAPPINGS:
        copy = type(value)((key, host_copy(item, copies)) for key, item in value.items())
        if isinstance(value, OrderedDict):
            vars(copy).update(vars(value))  # versions of modules, which torch keeps there
        return copy
    return type(value)(host_copy(item, copies) for item in value) if type(value) in LISTS else value


def check_content(content: Any, size: int) -> None:
    """Check content that was read: plain values and stored tensors only, without cycles and within limits.

    A file may refer to one container many times, or to a container within itself. Code that iterates over the content
    relies on this check.

    Args:
        content: Content of a file.
        size: Size of the file in bytes.

    Raises:
        MtlError: With the place of a value that can't be used.

    Example:
        >>> loop = []
        >>> loop.append(loop)
        >>> check_content({"a": loop}, 100)
        Traceback (most recent call last):
        mtl_lightning.errors.MtlError: a[0] holds itself
    """
    sizes: dict[int, int] = {}
    open_containers: set[int] = set()
    storages: dict[int, int] = {}

    def count(value: Any, where: str, depth: int) -> int:
        if type(value) in PLAIN:
            return 1
        if isinstance(value, Tensor):
            _require_stored(value, where)
            storage = value.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
            return 1
        if type(value) not in (*MAPPINGS, *LISTS):
            raise MtlError(f"{where} is a {type(value).__name__}, which no checkpoint may hold")
        if id(value) in open_containers:
            raise MtlError(f"{where} holds itself")
        if depth > DEEPEST:
            raise MtlError(f"{where[:200]} is nested deeper than {DEEPEST} levels")
        if id(value) not in sizes:
            open_containers.add(id(value))
            if isinstance(value, dict):
                inner = ((item, f"{where}.{key}" if where else str(key)) for key, item in value.items())
                keys = sum(count(key, f"{where} (key)", depth + 1) for key in value)
            else:
                inner, keys = ((item, f"{where}[{index}]") for index, item in enumerate(value)), 0
            sizes[id(value)] = 1 + keys + sum(count(item, place, depth + 1) for item, place in inner)
            open_containers.remove(id(value))
        return sizes[id(value)]

    if (values := count(content, "", 0)) > MOST:
        raise MtlError(f"it unfolds to {values:,} values, more than {MOST:,}")
    if (stored := sum(storages.values())) > size:
        raise MtlError(f"its tensors take {stored:,} bytes, and the file has {size:,}")


def _require_dense(tensor: Tensor, where: str) -> None:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        raise MtlError(f"{where} is a tensor of another layout, which no checkpoint may hold", "save it as dense")


def _require_stored(tensor: Tensor, where: str) -> None:
    """Refuse tensors that are larger than their storage: copying one could exhaust the memory."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.is_meta:
        raise MtlError(f"{where} is a tensor without values, or of a type that no checkpoint may hold")
    _require_dense(tensor, where)
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise MtlError(f"{where} {list(tensor.shape)} is larger than what is stored of it")


def check_alike(value: Any, template: Any, where: str, *, partial: bool = False) -> None:
    """Check that a value has the same form as the value that this version writes.

    Args:
        value: The value that was read.
        template: The value of this version. Types, keys, lengths and shapes are compared, numbers are not. None accepts
            any scalar.
        where: Place of the value, for messages.
        partial: Mappings may have missing or additional keys, as in other versions of a library.

    Raises:
        MtlError: With the place of a difference, or of a number that is not finite.

    Example:
        >>> check_alike({"lr": 0.1, "step": True}, {"lr": 0.0, "step": 0}, "state")
        Traceback (most recent call last):
        mtl_lightning.structure.StructureError: state.step is True, not an integer
    """
    if isinstance(template, Tensor):
        require_tensor(value, template.shape, where, floating=template.is_floating_point())
    elif isinstance(template, dict):
        if type(value) not in MAPPINGS:
            raise MtlError(f"{where} is {shown(value)}, not a mapping")
        missing, unknown = template.keys() - value.keys(), value.keys() - template.keys()
        if (missing or unknown) and not partial:
            raise MtlError(f"{where} has {'no' if missing else 'an unknown'} {shown(next(iter(missing or unknown)))}")
        for key in value.keys() & template.keys():
            check_alike(value[key], template[key], f"{where}.{key}", partial=partial)
    elif isinstance(template, list | tuple):
        if type(value) not in (list, tuple) or len(value) != len(template):
            raise MtlError(f"{where} is {shown(value)}, not a list of {len(template)}")
        for index, (item, form) in enumerate(zip(value, template, strict=True)):
            check_alike(item, form, f"{where}[{index}]", partial=partial)
    else:
        check(value, bool | int | float | str | None if template is None else type(template), where)


def require_tensor(value: Any, shape: torch.Size | None, where: str, *, floating: bool = True) -> None:
    """Check that a value is a tensor of a shape (None for any) whose numbers are finite.

    Raises:
        MtlError: Otherwise, with the place.
    """
    if not isinstance(value, Tensor):
        raise MtlError(f"{where} is {shown(value)}, not a tensor")
    if shape is not None and value.shape != shape:
        raise MtlError(f"{where} is {list(value.shape)}, not {list(shape)}")
    if value.is_floating_point() != floating:
        raise MtlError(f"{where} has the type {value.dtype}")
    # In pieces: a table may be as large as half of the memory.
    if floating and not all(bool(torch.isfinite(part).all()) for part in value.reshape(-1).split(PIECE)):
        raise MtlError(f"{where} has numbers that are not finite")


def require_keys(value: Any, *names: str, where: str = "it") -> None:
    """Check that a value is a mapping that has these keys."""
    if not isinstance(value, dict):
        raise MtlError(f"{where} is {shown(value)}, not a mapping")
    if missing := [name for name in names if name not in value]:
        raise MtlError(f"{where} has no {missing[0]!r}")
