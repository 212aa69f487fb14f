"""Information abundance of embedding tables: the number of directions that their rows use."""

from typing import Any

import torch
from torch import Tensor

from mtl_lightning.interfaces import Encoder, Schema

ROWS = 262_144
"""Number of rows that are multiplied at a time, in float64."""


def information_abundance(rows: Tensor) -> float:
    """Sum of the singular values of a matrix, divided by the largest: between 1 and the smaller of its dimensions.

    A matrix whose rows lie along one direction has 1. A matrix with orthogonal columns of equal norm has its width. The
    singular values are square roots of the eigenvalues of the columns' inner products, so no copy of the matrix is
    made.

    Args:
        rows: Matrix [V, W].

    Returns:
        The abundance; NaN for a matrix without rows, of zeros, or with values that are not finite.

    Source:
        Guo et al., "On the Embedding Collapse When Scaling Up Recommendation Models", ICML 2024, definition 1.

    Example:
        >>> information_abundance(torch.eye(3)), information_abundance(torch.ones(5, 3))
        (3.0, 1.0)
    """
    products = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for block in rows.detach().split(ROWS):
        products += block.double().T @ block.double()
    if not len(rows) or not bool(torch.isfinite(products).all()):
        return float("nan")
    singular = torch.linalg.eigvalsh(products).clamp_min(0).sqrt()
    singular = torch.where(singular > 1e-7 * singular[-1], singular, 0.0)  # below this they are rounding
    return float(singular.sum() / singular[-1])


def table_abundances(encoder: Encoder, schema: Schema) -> list[dict[str, Any]]:
    """Abundance of each vocabulary's rows, in every set of tables.

    Args:
        encoder: Encoder; one without tables, or that does not know their places (sharded ones), gives an empty list.
        schema: Its fitted schema.

    Returns:
        Records with ``table`` (name of the vocabulary), ``copy`` (number of the set), ``rows`` (padding excluded),
        ``width`` and ``abundance``.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, _ = example()
        >>> [(record["table"], record["rows"], record["width"]) for record in table_abundances(encoder, schema)]
        [('user', 5, 4), ('item', 5, 4), ('scenario', 5, 4)]
    """
    records = []
    sizes = schema.table_sizes
    for table, places in zip(encoder.table_parameters(), encoder.table_places(schema), strict=False):
        for name, starts in places.items():
            for copy, start in enumerate(starts):
                rows = table[start + 1 : start + sizes[name]]
                value = information_abundance(rows)
                records.append(
                    {"table": name, "copy": copy, "rows": len(rows), "width": rows.shape[1], "abundance": value}
                )
    return records
