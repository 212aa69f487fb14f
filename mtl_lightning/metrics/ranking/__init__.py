"""Metrics within groups of rows (users): each group is ranked on its own."""

from mtl_lightning.moved import moved_names

__getattr__ = moved_names(
    __name__,
    dict.fromkeys(("GroupedMetric", "Rows", "group_mean"), "grouped_metric")
    | dict.fromkeys(("Ranking", "rank", "sortable"), "order"),
)
