"""Kinds of tasks: one record each, with everything that the package asks about a kind. Free of torch."""

from collections.abc import Collection
from dataclasses import dataclass
from math import inf

from mtl_lightning.errors import DataError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRange:
    """Numbers that are valid labels.

    Args:
        lowest: Smallest valid label.
        highest: Largest valid label.
        whole: Whether labels must be integers.
        refusal: What an invalid label is, for messages: "the label 'visits' is 1.5, <refusal>".
        remedy: What to do about it; may be empty.
    """

    lowest: float = -inf
    highest: float = inf
    whole: bool = False
    refusal: str = "out of range"
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKind:
    """One kind of task.

    Args:
        name: Name in a recipe.
        scalar: Whether a prediction is one number per row, [B]; otherwise it is one number per class, [B, classes].
            Labels of scalar tasks have a mean and a standard deviation, are correlated with others, and may be used
            in a score formula.
        fits_classes: Whether labels are classes. Their number is fitted to the training rows unless the recipe sets it.
        several: Whether a row has any number of the classes; its label is then one 0 or 1 per class, [classes].
        probability: Whether predictions are probabilities that the label (each label, if several) is 1.
        difference: Whether predictions are differences of two probabilities, in [−1, 1], which have another scale than
            labels and are not calibrated.
        signals_event: Whether a label above 0 says that something happened, such as a click or a purchase.
        labels: Valid labels, unless they are classes.
        head: Name of the head that is used when a recipe names none.
        served_as: Names of other kinds. Heads, losses and metrics that serve one of them serve this kind, too.
        default_metrics: Names of the metrics used when a recipe names none. The first one counts in the overall score;
            higher values of it must be better.
        oracle_metrics: Names of the metrics added when the true expectation of the label is known (``oracle``).
        detailed_metrics: Names of the metrics of a detailed evaluation.
        group_metrics: Names of the metrics added to these when rows have a group (``data.group``).
        compared_by: Metric by which ``compare`` judges models; see :data:`mtl_lightning.compare.statistics.METRICS`.
        compared_with: Details of the head (:meth:`Head.details`) that this metric reads; they are kept with test rows.
    """

    name: str
    scalar: bool = True
    fits_classes: bool = False
    several: bool = False
    probability: bool = False
    difference: bool = False
    signals_event: bool = False
    labels: LabelRange = LabelRange()
    head: str
    served_as: tuple[str, ...] = ()
    default_metrics: tuple[str, ...]
    oracle_metrics: tuple[str, ...] = ()
    detailed_metrics: tuple[str, ...] = ("mae", "rmse", "xauc")
    group_metrics: tuple[str, ...] = ("ndcg",)
    compared_by: str = "rmse"
    compared_with: tuple[str, ...] = ()

    @property
    def event_probability(self) -> bool:
        """True if a prediction is one probability per row, which can be calibrated."""
        return self.scalar and self.probability

    @property
    def predicted(self) -> LabelRange:
        """Range of predictions of one value per row, unless they are on the scale of the label.

        Example:
            >>> TASK_KINDS["uplift"].predicted.lowest, TASK_KINDS["count"].predicted.lowest
            (-1, 0)
        """
        return LabelRange(lowest=-1, highest=1) if self.difference else self.labels

    @property
    def hard(self) -> bool:
        """True if a label is 0 or 1 and a prediction its probability, which can be compared with a threshold.

        Example:
            >>> TASK_KINDS["binary"].hard, TASK_KINDS["soft_binary"].hard
            (True, False)
        """
        return self.event_probability and self.labels.whole

    def served_by(self, kinds: Collection[str]) -> bool:
        """Decide whether a component serves this kind.

        Args:
            kinds: Names of the kinds that the component declares.

        Example:
            >>> TASK_KINDS["count"].served_by({"regression"}), TASK_KINDS["count"].served_by({"count"})
            (False, True)
        """
        return not {self.name, *self.served_as}.isdisjoint(kinds)


_RECORDS = (
    TaskKind(
        name="binary",
        probability=True,
        signals_event=True,
        labels=LabelRange(
            lowest=0,
            highest=1,
            whole=True,
            refusal="not 0 or 1",
            remedy="write a condition: rating >= 4; for labels between 0 and 1, kind: soft_binary",
        ),
        head="binary",
        default_metrics=("auc", "log_loss", "normalized_entropy", "calibration"),
        oracle_metrics=("expected_auc", "oracle_auc"),
        detailed_metrics=("auc", "pr_auc", "log_loss", "normalized_entropy", "calibration", "ece"),
        group_metrics=("gauc", "ndcg", "recall_at_k"),
        compared_by="auc",
    ),
    TaskKind(
        name="soft_binary",
        probability=True,
        labels=LabelRange(lowest=0, highest=1, refusal="not between 0 and 1", remedy="divide it by its largest value"),
        head="binary",
        default_metrics=("auc", "log_loss", "normalized_entropy", "calibration"),
        detailed_metrics=("auc", "log_loss", "normalized_entropy", "calibration", "ece"),
        group_metrics=(),
    ),
    TaskKind(
        name="multiclass",
        scalar=False,
        fits_classes=True,
        head="multiclass",
        default_metrics=("accuracy", "macro_f1", "multiclass_log_loss"),
        detailed_metrics=("accuracy", "macro_f1", "multiclass_log_loss"),
        group_metrics=(),
        compared_by="accuracy",
    ),
    TaskKind(
        name="multilabel",
        scalar=False,
        fits_classes=True,
        several=True,
        probability=True,
        head="multilabel",
        default_metrics=("auc", "log_loss"),
        oracle_metrics=("expected_auc", "oracle_auc"),
        detailed_metrics=("auc", "pr_auc", "log_loss"),
        group_metrics=(),
        compared_by="auc",
    ),
    TaskKind(
        name="regression",
        head="regression",
        default_metrics=("r2", "mae", "rmse"),
    ),
    TaskKind(
        name="count",
        signals_event=True,
        labels=LabelRange(lowest=0, whole=True, refusal="not a count", remedy="use kind: regression"),
        head="count",
        default_metrics=("r2", "mae", "calibration"),
    ),
    TaskKind(
        name="ordinal",
        fits_classes=True,
        head="ordinal",
        default_metrics=("xauc", "mae"),
    ),
    TaskKind(
        name="value",
        signals_event=True,
        labels=LabelRange(lowest=0, refusal="negative", remedy="use kind: regression"),
        head="value",
        default_metrics=("xauc", "mae", "calibration"),
        detailed_metrics=("mae", "rmse", "xauc", "calibration"),
    ),
    TaskKind(
        name="uplift",
        difference=True,
        labels=LabelRange(lowest=0, highest=1, whole=True, refusal="not 0 or 1", remedy="write a condition: spend > 0"),
        head="t_learner",
        default_metrics=("qini", "auuc", "uplift_at_k"),
        oracle_metrics=("pehe",),
        detailed_metrics=("qini", "auuc", "uplift_at_k"),
        group_metrics=(),
        compared_by="qini",
        compared_with=("treatment",),
    ),
)

TASK_KINDS: dict[str, TaskKind] = {record.name: record for record in _RECORDS}
"""Kinds of tasks by name."""


def task_kind(name: str) -> TaskKind:
    """The record of a kind.

    Args:
        name: Name of the kind.

    Raises:
        DataError: If there is no such kind.

    Example:
        >>> task_kind("binary").compared_by
        'auc'
        >>> task_kind("binray")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: no kind of task is called 'binray' (did you mean 'binary'?)
    """
    if name not in TASK_KINDS:
        raise DataError(f"no kind of task is called {name!r}", did_you_mean(name, TASK_KINDS))
    return TASK_KINDS[name]
