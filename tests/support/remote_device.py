"""A stand-in for an accelerator on a machine without one.

Tensors keep their values in host memory and say that they are on another device. Operations that such a device refuses
raise :class:`MixedDevicesError`. What the host would wait for, send or launch is counted by the place in the package.

Example: ``remote(module)``, then a step within ``with RemoteDevice() as traffic:``, then ``traffic.reads``.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torchmetrics import Metric

from mtl_lightning.training import late, rows

DEVICE = torch.device("meta")
"""Device that the tensors name: torch lets no kernel of it run, so that every operation passes through here."""

PACKAGE = "/mtl_lightning/"

WAITING = frozenset(
    {
        "_local_scalar_dense",
        "nonzero",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "masked_select",
        "bincount",
        "equal",
        "is_nonzero",
        "repeat_interleave",
        "_coalesce",
        "_linalg_eigh",
        "_linalg_svd",
        "_linalg_check_errors",
        "linalg_lstsq",
        "linalg_eig",
        "histogram",
    }
)
"""Operations that return a value or a size to the host, or check an error there, on every accelerator."""

FREE = frozenset(
    {
        "detach",
        "alias",
        "view",
        "_unsafe_view",
        "_reshape_alias",
        "expand",
        "transpose",
        "t",
        "permute",
        "slice",
        "select",
        "unsqueeze",
        "squeeze",
        "split",
        "split_with_sizes",
        "unbind",
        "as_strided",
        "diagonal",
        "lift_fresh",
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_empty_strided",
        "unfold",
        "is_coalesced",
        "_indices",
        "_values",
        "_nnz",
        "_sparse_coo_tensor_with_dims_and_tensors",
        "_sparse_coo_tensor_unsafe",
        "_coalesced_",
        "set_",
        "resize_",
        "is_pinned",
        "record_stream",
        "chunk",
        "movedim",
        "view_as_real",
        "sparse_dim",
        "dense_dim",
        "_has_same_storage_numel",
        "is_same_size",
        "_version",
    }
)
"""Operations on sizes and memory that launch nothing."""

RUNS_ON_HOST_INDEX = frozenset(
    {
        "index",
        "index_put",
        "index_put_",
        "_index_put_impl_",
        "_unsafe_index",
    }
)
"""Operations that take an index from the host, and copy it."""


class MixedDevicesError(RuntimeError):
    """An operation got tensors or a generator of two devices."""


@dataclass
class Traffic:
    """Traffic between host and device, by place.

    Args:
        reads: Places where the host waits for the device.
        late_reads: Copies to the host that it does not wait for.
        copies: Copies to the device.
        launches: Kernel-like operations on the device.
    """

    reads: Counter[str] = field(default_factory=Counter)
    late_reads: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    launches: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        """Forget all counts."""
        for counter in (self.reads, self.late_reads, self.copies, self.launches):
            counter.clear()


_traffic = Traffic()


class Remote(Tensor):
    """A tensor of the stand-in."""

    values: Tensor
    """Its values, on the host."""

    @staticmethod
    def __new__(cls, values: Tensor) -> "Remote":
        layout = {"layout": torch.sparse_coo}
        if not values.is_sparse:
            layout = {"strides": values.stride(), "storage_offset": values.storage_offset()}  # type: ignore[dict-item]
        tensor: Remote = Tensor._make_wrapper_subclass(
            cls, values.size(), dtype=values.dtype, device=DEVICE, requires_grad=False, **layout
        )
        tensor.values = values
        return tensor

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Remote({self.values})"

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, _: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(operation, arguments, dict(options or {}))


def _place() -> str:
    frame = sys._getframe(1)
    while frame is not None:
        _, package, path = frame.f_code.co_filename.partition(PACKAGE)
        if package and "site-packages" not in frame.f_code.co_filename:
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "torch"


def _values(tensor: Any) -> Any:
    return tensor.values if isinstance(tensor, Remote) else tensor


def _run(operation: Any, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
    name = operation.__name__.split(".")[0]
    leaves = tree_leaves((arguments, options))
    far = [leaf for leaf in leaves if isinstance(leaf, Remote)]
    near = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, Remote)]
    named = options.pop("device", None)
    target = None if named is None else torch.device(named).type
    options.pop("pin_memory", None)
    if name in ("_to_copy", "_pin_memory"):
        return _copy_to(operation, arguments, options, target)
    if name == "copy_":
        return _copy_into(arguments, options)
    if not far and target != DEVICE.type:
        return operation(*arguments, **options, **({} if named is None else {"device": named}))
    place = _place()
    _check(name, arguments, options, near if far else [], place)
    waits = name in WAITING or (name in RUNS_ON_HOST_INDEX and any(i.dtype == torch.bool for i in _indices(arguments)))
    if waits:
        _traffic.reads[f"{place} {name}"] += 1
    if name not in FREE:
        _traffic.launches[place] += 1
    result = operation(*tree_map(_values, arguments), **tree_map(_values, options))
    known = {id(tensor.values): tensor for tensor in far}  # in-place operations return their argument
    leaves_device = target is not None and target != DEVICE.type

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor) or leaves_device:
            return value
        return known[id(value)] if id(value) in known else Remote(value)

    return tree_map(wrap, result)


def _indices(arguments: Sequence[Any]) -> list[Tensor]:
    return [index for index in arguments[1] if isinstance(index, Tensor)]


def _check(name: str, arguments: Sequence[Any], options: Mapping[str, Any], near: Sequence[Tensor], place: str) -> None:
    if name in RUNS_ON_HOST_INDEX:
        sent = [index for index in _indices(arguments) if not isinstance(index, Remote)]
        for _ in sent:
            _count_copy(name, late=False)
        near = [tensor for tensor in near if all(tensor is not index for index in sent)]
    mixed = [tensor for tensor in near if tensor.dim() > 0]
    if mixed:
        raise MixedDevicesError(f"{name} at {place}: a tensor of shape {tuple(mixed[0].shape)} is on the host")
    if options.get("generator") is not None:
        raise MixedDevicesError(f"{name} at {place}: the generator is on the host")


def _copy_to(operation: Any, arguments: Sequence[Any], options: dict[str, Any], target: str | None) -> Any:
    source = arguments[0]
    far = isinstance(source, Remote)
    copied = operation(_values(source), *arguments[1:], **options)
    arrives = far if target is None else target == DEVICE.type
    if far and not arrives:
        counter = _traffic.late_reads if options.get("non_blocking") else _traffic.reads
        counter[f"{_place()} to the host"] += 1
    elif far:
        _traffic.launches[_place()] += 1
    elif arrives:
        _count_copy("to the device", bool(options.get("non_blocking")))
    return Remote(copied) if arrives else copied


def _count_copy(way: str, late: bool) -> None:
    """Count a copy to the device; unless it is declared as non-blocking, the host waits for its end."""
    _traffic.copies[f"{_place()} {way}"] += 1
    if not late:
        _traffic.reads[f"{_place()} {way}, blocking"] += 1


def _copy_into(arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    target, source = arguments[:2]
    late = options.get("non_blocking") or (len(arguments) > 2 and arguments[2])
    far = isinstance(target, Remote)
    if far and isinstance(source, Remote):
        _traffic.launches[_place()] += 1
    elif far:
        _count_copy("copy_", bool(late))
    elif isinstance(source, Remote):
        (_traffic.late_reads if late else _traffic.reads)[f"{_place()} copy_"] += 1
    _values(target).copy_(_values(source))
    return target


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(
        self, operation: Any, _: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(operation, arguments, dict(options or {}))


class _Passed:
    def synchronize(self) -> None:
        """Return at once: operations of the stand-in have ended when they return."""


def _tolist(tensor: Tensor) -> Any:
    if isinstance(tensor, Remote):
        _traffic.reads[f"{_place()} tolist"] += 1
        tensor = tensor.values
    return _host_tolist(tensor)


def _unpinned(*sizes: Any, **options: Any) -> Tensor:
    options.pop("pin_memory", None)
    return _host_empty(*sizes, **options)


_host_tolist = Tensor.tolist
_host_empty = torch.empty


@contextmanager
def RemoteDevice() -> Iterator[Traffic]:  # noqa: N802
    """Run operations of the stand-in's tensors, and count from zero."""
    _traffic.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "tolist", _tolist)
        patch.setattr(Tensor, "pin_memory", lambda tensor, *_: tensor)
        # Other threads see no dispatch, and pack batches.
        patch.setattr(torch, "empty", _unpinned)
        patch.setattr(torch, "is_autocast_enabled", lambda *_: False)  # which this device has no entry for
        patch.setattr(late, "record_event", lambda _: _Passed())
        for optimizer in ("adam", "adamw"):  # fused kernels of the host stand in for the ones of the device
            module = sys.modules[f"torch.optim.{optimizer}"]
            if hasattr(module, "_device_dtype_check_for_fused"):
                patch.setattr(module, "_device_dtype_check_for_fused", lambda *_, **__: None)
        assert DEVICE.type not in rows.HOST
        with _Dispatch():
            yield _traffic


Kind = TypeVar("Kind", bound=nn.Module)


def remote(module: Kind) -> Kind:
    """Move a module's parameters, buffers and metric states to the stand-in, and return it."""
    moved: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                if id(parameter) not in moved:
                    far = nn.Parameter(Remote(parameter.data), requires_grad=parameter.requires_grad)
                    moved[id(parameter)] = far
                part._parameters[name] = moved[id(parameter)]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = Remote(buffer)
        if isinstance(part, Metric):
            for name in part._defaults:
                if isinstance(state := getattr(part, name), Tensor):
                    setattr(part, name, Remote(state))
            part._device = DEVICE
    return module
