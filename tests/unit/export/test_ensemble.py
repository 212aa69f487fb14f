"""Averages of predictions, and differences between runs that can't be averaged."""

from pathlib import Path

import pytest
import torch

from mtl_lightning.errors import MtlError
from mtl_lightning.export.ensemble import average, check_equal_inputs, differences
from mtl_lightning.task_kinds import TASK_KINDS


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_the_average_of_equal_predictions_is_the_prediction(kind: str) -> None:
    record = TASK_KINDS[kind]
    values = torch.tensor([1e-8, 0.3, 0.9, 1 - 1e-6]) if record.scalar else torch.tensor([[0.2, 0.7, 0.1]])
    torch.testing.assert_close(average(torch.stack([values] * 3), record), values, rtol=1e-5, atol=0)


def test_probabilities_are_averaged_by_log_odds() -> None:
    values = torch.tensor([[0.1, 0.0, 1.0, 0.0], [0.5, 0.0, 1.0, 1.0]])
    result = average(values, TASK_KINDS["binary"])
    odds = (0.1 / 0.9 * 1.0) ** 0.5
    assert result[0].item() == pytest.approx(odds / (1 + odds), rel=1e-6)
    assert result.isfinite().all()
    assert result[1] < 1e-20
    assert result[2] > 1 - 1e-6


def test_classes_stay_a_distribution_and_others_have_the_mean() -> None:
    classes = torch.tensor([[[0.8, 0.1, 0.1]], [[0.2, 0.6, 0.2]]])
    result = average(classes, TASK_KINDS["multiclass"])
    expected = (classes[0] * classes[1]).sqrt()
    torch.testing.assert_close(result, expected / expected.sum())
    assert average(torch.tensor([[1.0], [4.0]]), TASK_KINDS["count"]).item() == 2.5
    labels = torch.tensor([[[0.5, 0.1]], [[0.5, 0.9]]])
    torch.testing.assert_close(average(labels, TASK_KINDS["multilabel"]), torch.tensor([[0.5, 0.5]]))


def test_the_first_difference_is_named() -> None:
    left = {"tasks": [{"name": "click"}], "features": {"user": {"size": 3}}}
    assert list(differences(left, left)) == []
    right = {"tasks": [{"name": "click"}], "features": {"user": {"size": 4}, "item": 1}}
    assert list(differences(left, right)) == [("features.user.size", 3, 4), ("features.item", "nothing", 1)]
    with pytest.raises(MtlError, match=r"a and b differ in features.user.size: 3 and 4"):
        check_equal_inputs({Path("a"): left, Path("b"): right})
    check_equal_inputs({Path("a"): left, Path("b"): left})
