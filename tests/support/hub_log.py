"""The data set of the tests of the Hub: its recipe and its rows."""

import pandas as pd

RECIPE = """
extends: base
features: {user: categorical, price: numeric}
tasks:
  click: {kind: binary, label: click}
trainer: {max_epochs: 1, accelerator: cpu}
"""


def log(rows: int, first: int = 0) -> pd.DataFrame:
    """Rows of a log."""
    numbers = range(first, first + rows)
    return pd.DataFrame(
        {
            "user": [f"ü{n % 7}" for n in numbers],
            "price": [n % 5 / 2 for n in numbers],
            "click": [n % 2 for n in numbers],
        }
    )
