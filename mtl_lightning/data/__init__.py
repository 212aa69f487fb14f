"""Raw log → readers → sources → preparation → store → batches.

To change this, look there:

- how a file format or a data frame is read: ``readers`` (CSV, JSON lines, parquet → blocks of Arrow rows)
- which logs exist, or to add one: ``sources`` (tables, Hub datasets, public sets); made-up logs: ``simulator``
- how a column becomes features, or to add a kind of feature: ``features`` (one kind per file)
- labels, tasks, and raw columns for losses and heads: ``targets``
- what labels and conditions can express: ``expressions``
- splits, fitting and encoding of a log: ``preparation``; of the rows of a request: ``preparation.row_encoder``
- files of encoded rows, their order and their batches: ``store``
- findings of ``data inspect`` and of the check before ``fit``: ``quality``
- when two raw values are equal, numbers, lists and times of one column: ``arrow``
- cache folders, locks, downloads, and when a cache is stale: ``cache``
- what a Lightning Trainer sees of all this: ``datamodule``
"""
