"""The combined score and calibration, against what is worked out by hand and by scikit-learn."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from mtl_lightning.build import build_network
from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.export.calibration import measure, reliability
from mtl_lightning.export.calibration_fits import CENTRES, fit
from mtl_lightning.export.formula import Formula, calibrate, default_formula
from mtl_lightning.metrics.binary.histogram import BINS
from mtl_lightning.ranks import process_count
from mtl_lightning.schema import Field, Schema, Task

TASKS = (
    Task(name="click", kind="binary", label="click"),
    Task(name="buy", kind="binary", label="buy", weight=0.5),
    Task(name="dwell", kind="regression", label="dwell"),
    Task(name="kind", kind="multiclass", label="kind", classes=3),
)
SCHEMA = Schema((Field(name="user", kind="categorical", size=10, table="user"),), TASKS)
VALUES = {"click": np.array([0.25, 0.5]), "buy": np.array([0.16, 1.0]), "dwell": np.array([10.0, np.nan])}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p_click * p_buy ^ 0.5", [0.1, 0.5]),
        ("2 * p_click ^ 2 ^ 1", [0.125, 0.5]),
        ("-p_click ^ 2", [-0.0625, -0.25]),
        ("p_click + log1p(dwell)", [0.25 + np.log(11), np.nan]),
        ("click", [0.25, 0.5]),
        ("p_click > 0.3", [0.0, 1.0]),
        ("calibrated_click", [1 / 7, 1 / 3]),
    ],
)
def test_scores(text: str, expected: list[float]) -> None:
    formula = Formula(text, SCHEMA, {"click": {"a": 1.0, "b": -np.log(2)}, "buy": {"a": None}})
    np.testing.assert_allclose(formula(VALUES), expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("p_dwell", "no prediction 'p_dwell'"),
        ("kind", "no prediction 'kind'"),
        ("calibrated_buy", "no prediction 'calibrated_buy'"),
        ("1 + 1", "uses no column"),
        ("p_click if p_buy else 1", "is not allowed"),
        ("[x for x in p_click]", "is not allowed"),
        ("p_click.__class__", "is not allowed"),
        ("open('x')", "no function 'open'"),
    ],
)
def test_what_is_no_formula(text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason.replace("+", r"\+")):
        Formula(text, SCHEMA, {"click": {"a": 1.0, "b": 0.0}})


def test_a_caret_in_text_is_no_power() -> None:
    table = pa.table({"word": ["a^b", "a**b"], "x": [2.0, 3.0]})
    assert Expression("word == 'a^b'").evaluate(table).to_pylist() == [True, False]
    assert Expression("3 * x ^ 2").evaluate(table).to_pylist() == [12.0, 27.0]


def test_the_default_weighs_binary_tasks() -> None:
    assert default_formula(SCHEMA) == "p_click + 0.5 * p_buy"
    assert default_formula(Schema((), TASKS[2:])) == "dwell"
    assert default_formula(Schema((), TASKS[3:])) is None


@settings(deadline=None, max_examples=50)
@given(st.floats(0.2, 3), st.floats(-3, 3), st.integers(0, 1000))
def test_platt_is_the_logistic_regression_on_log_odds(slope: float, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = rng.integers(BINS // 4, 3 * BINS // 4, 400)
    labels = rng.random(400) < 1 / (1 + np.exp(-(slope * (CENTRES[places] + 3) + shift)))
    positive = np.bincount(places[labels], minlength=BINS).astype(float)
    negative = np.bincount(places[~labels], minlength=BINS).astype(float)
    a, b = fit("platt", positive, negative).values()
    if not 0 < labels.sum() < 400:
        assert (a, b) == (None, None)
        return
    assert a is not None
    assert b is not None
    fitted = LogisticRegression(C=1e4, tol=1e-10, max_iter=1000).fit(CENTRES[places][:, None], labels)

    def loss(first: float, second: float) -> float:
        z = first * CENTRES[places] + second
        return float((np.logaddexp(0, z) - labels * z).sum())

    assert loss(a, b) <= loss(float(fitted.coef_[0, 0]), float(fitted.intercept_[0])) + 0.05
    table = reliability(positive, negative)
    assert sum(item["rows"] for item in table) == 400
    assert [item["predicted"] for item in table] == sorted(item["predicted"] for item in table)


def test_calibration_counts_known_rows_by_their_weight() -> None:
    schema = Schema(SCHEMA.fields, TASKS[:1])
    network = build_network(schema).eval()
    store = Store(
        schema,
        {
            "ids": torch.tensor([[2], [3], [4], [5]], dtype=torch.int32),
            "dense": torch.zeros(4, 0),
            "labels": torch.tensor([[1.0], [0.0], [1.0], [0.0]]),
            "mask": torch.tensor([[True], [True], [True], [False]]),
            "weight": torch.tensor([[1.0], [2.0], [3.0], [9.0]]),
        },
    )
    with torch.no_grad():
        predictions = network(store.batch(slice(0, 4)))["click"].double()
    result = measure(network, store, 3)["click"]
    assert result["rows"] == 6
    assert result["observed"] == pytest.approx(4 / 6)
    assert result["predicted"] == pytest.approx(float((predictions[:3] * torch.tensor([1, 2, 3])).sum() / 6))


def test_calibration_of_nothing_is_nothing() -> None:
    assert fit("platt", np.zeros(BINS), np.ones(BINS)) == {"a": None, "b": None}
    np.testing.assert_allclose(calibrate(np.array([0.0, 1.0]), {"a": 2.0, "b": 1.0}), [0.0, 1.0])


def test_parts_are_calibrated_by_their_own_rows() -> None:
    schema = Schema(SCHEMA.fields, TASKS[:1])
    network = build_network(schema).eval()
    users = torch.tensor([[2], [3]], dtype=torch.int32).repeat(500, 1)
    random = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    labels = (random < torch.where(users[:, 0] == 2, 0.9, 0.1)).float()[:, None]
    parts = {"ids": users, "dense": torch.zeros(1000, 0), "labels": labels, "mask": torch.ones(1000, 1).bool()}
    store = Store(schema, parts)
    with torch.no_grad():
        raw = network(store.batch(slice(0, 2)))["click"].double().numpy()
    for method in ("platt", "isotonic", "spline"):
        records = measure(network, store, 300, method, "user")
        assert records["click"]["parts"]["ids"] == [2, 3]
        formula = Formula("calibrated_click", schema, records)
        values = formula({"click": raw}, np.array([[2], [3]]))
        np.testing.assert_allclose(values, labels.reshape(500, 2).mean(0), atol=0.03)
        unknown = formula({"click": raw}, np.array([[9], [0]]))
        np.testing.assert_allclose(unknown, calibrate(raw, {**records["click"], "parts": None}))
    with pytest.raises(MtlError, match="calibrate_by: no feature 'usr'"):
        measure(network, store, 300, "platt", "usr")


def test_processes_are_counted_by_the_launchers_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "WORLD_SIZE", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert process_count() == 1  # nothing says which of them this is
    monkeypatch.setenv("RANK", "1")
    assert process_count() == 4


def test_effects_have_no_calibration_and_are_no_probability_of_a_formula() -> None:
    tasks = (TASKS[0], Task(name="effect", kind="uplift", label="click"))
    schema = Schema(SCHEMA.fields, tasks)
    ids, known = torch.tensor([[2], [3], [4]], dtype=torch.int32), torch.ones(3, 2, dtype=torch.bool)
    parts = {"ids": ids, "dense": torch.zeros(3, 0), "labels": torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])}
    records = measure(build_network(schema).eval(), Store(schema, parts | {"mask": known}), 2)
    assert set(records) == {tasks[0].name}
    assert default_formula(schema) == f"p_{tasks[0].name}"
    assert Formula("effect", schema)({"effect": np.array([-0.5])}).tolist() == [-0.5]
    with pytest.raises(DataError, match="no prediction 'p_effect'"):
        Formula("p_effect", schema)
