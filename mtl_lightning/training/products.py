"""Inner products of gradients in full precision, whatever is set for the products of a network."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mtl_lightning.training.rows import HOST

SLICE = 32_768
"""Number of values whose products are summed in float32, in a CPU's cache. Sums of slices are added in float64."""


@contextmanager
def full_float32() -> Iterator[None]:
    """Multiply float32 matrices in float32, not in TensorFloat32 or bfloat16, and restore the setting.

    Example:
        >>> before = torch.get_float32_matmul_precision()
        >>> with full_float32():
        ...     torch.get_float32_matmul_precision()
        'highest'
        >>> torch.get_float32_matmul_precision() == before
        True
    """
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def inner_products(vectors: Tensor) -> Tensor:
    """Inner products of rows, exact to float32 in their factors and to float64 in the sum of slices.

    Squares of finite float32 values may overflow. On a CPU the products are then computed in float64. On a device,
    where the host would have to wait to know, they always are.

    Args:
        vectors: Rows, [T, K], of any floating-point type.

    Returns:
        [T, T] float64.

    Example:
        >>> inner_products(torch.tensor([[3.0, 4.0], [1.0, 0.0]])).tolist()
        [[25.0, 3.0], [3.0, 1.0]]
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))  # they may be in half precision
    if not vectors.numel():
        return vectors.new_zeros(len(vectors), len(vectors), dtype=torch.float64)
    if vectors.device.type not in HOST:
        return _products(vectors.double())
    products = _products(vectors)
    if not bool(torch.isfinite(products).all()):
        products = vectors.double() @ vectors.double().T
    return products


def is_finite(values: Tensor) -> Tensor:
    """``torch.isfinite`` in two kernels instead of four.

    Example:
        >>> is_finite(torch.tensor([1.0, torch.inf, torch.nan])).tolist()
        [True, False, False]
    """
    return values - values == 0


def _products(vectors: Tensor) -> Tensor:
    length = vectors.shape[1]
    slices = max(length // SLICE, 1)
    if slices == 1:
        with full_float32():
            return (vectors @ vectors.T).double()
    size = length // slices
    parts = vectors[:, : slices * size].unflatten(1, (slices, size)).transpose(0, 1)
    rest = vectors[:, slices * size :]
    with full_float32():
        products = torch.bmm(parts, parts.transpose(1, 2)).sum(0, dtype=torch.float64)
        return products if rest.shape[1] == 0 else products + (rest @ rest.T).double()
