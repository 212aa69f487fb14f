"""Report of the detailed evaluation that follows a test: tables, page and reliability plots."""

from mtl_lightning.moved import moved_names

__getattr__ = moved_names(
    __name__, dict.fromkeys(("DECISIONS", "EvaluationReport", "evaluation_tables", "plain", "wanted"), "report")
)
