"""Raw log → readers → sources → preparation → store → batches.

- ``readers``: files and frames as blocks of Arrow rows (CSV, JSON lines, parquet).
- ``sources``: a log as a component: tables, Hub datasets, public sets, ``simulator``.
- ``features``: one file per kind of feature; fits on training rows, encodes all rows.
- ``targets``: labels, tasks, and raw columns that losses and heads read.
- ``expressions``: the language of labels and conditions.
- ``preparation``: splits, fits, encodes and saves; ``row_encoder`` does it for requests.
- ``store``: encoded columns on disk, the order of rows, the loader of batches.
- ``quality``: what ``data inspect`` and the check before ``fit`` report.
- ``arrow``: values of one column (types, keys, numbers, lists, times).
- ``cache``: folders, locks, downloads and digests of code.
- ``datamodule``: all of it for a Lightning Trainer.
"""
