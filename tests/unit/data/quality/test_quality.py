"""Leaks, funnels, drift, repeated rows: the numbers agree with other ways to get them, and what is planted is found."""

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chi2_contingency
from sklearn.metrics import matthews_corrcoef, roc_auc_score

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.quality.association import cramers_v
from mtl_lightning.data.quality.days import DayRates
from mtl_lightning.data.quality.drift import LARGE, MODERATE, bins
from mtl_lightning.data.quality.findings import QualityError, refuse
from mtl_lightning.data.quality.gate import FILE, check, measure
from mtl_lightning.data.quality.inspection import inspect_log
from mtl_lightning.data.quality.leaks import binary_targets, leak_scores
from mtl_lightning.data.quality.rows import count_repeated, sample
from mtl_lightning.data.quality.scores import FOLDS, correlation, encoded_auc, psi, row_auc
from mtl_lightning.report.quality.page import missing, quality_page, related, vector_rows
from mtl_lightning.schema import Field, Schema, Task

FEATURES = {"user": "categorical", "price": "numeric", "seen": "sequence"}
TASKS = {
    "click": {"kind": "binary", "label": "click"},
    "buy": {"kind": "binary", "label": "buy", "parents": ["click"]},
    "seconds": {"kind": "regression", "label": "seconds", "observed_when": "click == 1"},
}


def log(seed, rows=4000):
    """A clean log: features predict a little, buys follow clicks."""
    draw = np.random.default_rng(seed)
    taste = draw.normal(size=200)
    user, price = draw.integers(0, 200, rows), draw.normal(size=rows)
    click = draw.random(rows) < 1 / (1 + np.exp(1 - taste[user] + price))
    return {
        "user": user,
        "price": price,
        "seen": [draw.integers(0, 30, draw.integers(0, 4)).tolist() for _ in range(rows)],
        "click": click.astype(int),
        "buy": (click & (draw.random(rows) < 0.3)).astype(int),
        "seconds": draw.exponential(20, rows),
        "request": np.arange(rows),
    }


def prepared(rows, tmp_path, more=None, **options):
    features = {**FEATURES, **(more or {})}
    options = {"tasks": TASKS, **options}
    return DataModule.from_frame(rows, features=features, cache_dir=tmp_path, **options)


def serious(data):
    return [item.name for item in check(data.prepare()) if item.level == "serious"]


def test_auc_with_ties_is_that_of_scikit_learn():
    draw = np.random.default_rng(0)
    for levels in (2, 7, 1000):
        score, label = draw.integers(0, levels, 500), draw.integers(0, 2, 500)
        assert row_auc(score, label.astype(float)) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert np.isnan(row_auc(np.arange(3.0), np.ones(3)))


@pytest.mark.parametrize("shape", [(600,), (600, 3)])
def test_target_encoding_leaves_a_rows_own_fold_out(shape):
    draw = np.random.default_rng(1)
    codes, fold = draw.integers(0, 40, shape), draw.integers(0, FOLDS, 600)
    label, known = draw.integers(0, 2, 600).astype(float), draw.random(600) < 0.9
    expected = []
    for f in range(FOLDS):
        others, mine = known & (fold != f), np.flatnonzero(known & (fold == f))
        rate = label[others].mean()

        def value(code, others=others, rate=rate):
            count = (codes[others].reshape(others.sum(), -1) == code).sum(axis=1)
            return ((count * label[others]).sum() + rate) / (count.sum() + 1)

        score = [np.mean([value(code) for code in np.atleast_1d(codes[row])]) for row in mine]
        expected.append((roc_auc_score(label[mine], score), len(mine)))
    weighted = sum(item * count for item, count in expected) / sum(count for _, count in expected)
    assert encoded_auc(codes, label, fold, known) == pytest.approx(weighted, abs=1e-9)


def test_psi_by_hand():
    # (0.2 - 0.5) ln(0.2/0.5) + (0.8 - 0.5) ln(0.8/0.5) = 0.3 ln 4
    assert psi(np.array([5, 5]), np.array([20, 80])) == pytest.approx(0.3 * np.log(4))
    assert psi(np.array([3, 1]), np.array([30, 10])) == 0
    assert np.isfinite(psi(np.array([1, 0]), np.array([0, 1])))


def test_bins_are_deciles_of_training_and_the_most_frequent_ids():
    draw = np.random.default_rng(0)
    before, after = draw.normal(size=10_000), draw.normal(1, 1, size=10_000)
    train, test = bins(Field(name="x", kind="numeric"), before, [after])
    assert train.tolist() == [1000] * 10
    edges = np.quantile(before, np.arange(1, 10) / 10)
    assert test.tolist() == np.histogram(after, [-np.inf, *edges, np.inf])[0].tolist()
    ids = np.repeat(np.arange(2, 42), np.arange(40, 0, -1))
    train, test = bins(Field(name="x", kind="categorical", size=42), ids, [np.array([0, 1, 1, 2, 41, 50])])
    assert train.tolist() == [0, 0, *range(40, 20, -1), sum(range(1, 21))]
    assert test.tolist() == [1, 2, 1, *[0] * 19, 2]


def test_phi_and_pearson_are_those_of_others():
    draw = np.random.default_rng(2)
    first, second = draw.integers(0, 2, 300), draw.integers(0, 2, 300)
    both = correlation(300, (first.sum(), second.sum()), (first.sum(), second.sum()), (first * second).sum())
    assert both == pytest.approx(matthews_corrcoef(first, second))
    x = draw.normal(size=300)
    result = correlation(300, (first.sum(), x.sum()), (first.sum(), (x**2).sum()), (first * x).sum())
    assert result == pytest.approx(np.corrcoef(first, x)[0, 1])
    assert correlation(3, (3.0, 2.0), (3.0, 2.0), 2.0) is None


def test_pairs_count_rows_where_both_are_known(tmp_path):
    rows = log(0)
    data = prepared(rows, tmp_path, split={"by": "random", "validation": 0.0, "test": 0.0})
    pairs = {tuple(pair["tasks"]): pair for pair in measure(data.prepare())["pairs"]}
    click, buy, seconds = (np.asarray(rows[name]) for name in ("click", "buy", "seconds"))
    assert pairs["click", "buy"]["both"] == (click & buy).sum()
    assert pairs["click", "buy"]["first"] == (click & ~buy & 1).sum()
    assert pairs["click", "buy"]["correlation"] == pytest.approx(matthews_corrcoef(click, buy))
    seen = click == 1
    assert pairs["buy", "seconds"]["rows"] == seen.sum()
    expected = np.corrcoef(buy[seen], seconds[seen])[0, 1]
    assert pairs["buy", "seconds"]["correlation"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_clean_data_has_no_serious_finding_not_even_by_ids_that_come_once(seed, tmp_path):
    data = prepared(log(seed), tmp_path, {"request": {"kind": "categorical", "min_count": 1}})
    assert serious(data) == []
    assert measure(data.prepare())["scores"]["request"]["click"] == pytest.approx(0.5, abs=0.03)


LEAKS = {
    "categorical": lambda click, draw: draw.permutation(["paid", "free"])[click.astype(int)],
    "ids": lambda click, draw: np.where(click, draw.integers(0, 300, len(click)), draw.integers(300, 900, len(click))),
    "numeric": lambda click, draw: click + draw.normal(size=len(click)) * 0.1,
    "numeric reversed": lambda click, draw: draw.normal(size=len(click)) * 0.1 - click,
    "numeric null": lambda click, draw: np.where(click, draw.exponential(20, len(click)), np.nan),
    "numeric middle": lambda click, draw: (
        np.where(click, 1.0, draw.choice([-1.0, 1.0], len(click)) + 1) + draw.normal(size=len(click)) * 0.01
    ),
    "sequence": lambda click, draw: [[7, *draw.integers(10, 14, 2)] if item else [8] for item in click],
}


@pytest.mark.parametrize("kind", LEAKS)
def test_planted_leaks_are_found(kind, tmp_path):
    rows = log(0)
    rows["leak"] = LEAKS[kind](np.asarray(rows["click"]) == 1, np.random.default_rng(9))
    feature = {"ids": "categorical"}.get(kind, kind.split()[0])
    result = serious(prepared(rows, tmp_path, {"leak": feature}))
    assert "leak:leak:click" in result
    assert all(name.startswith("leak:leak:") for name in result)


def test_leaks_of_classes_labels_and_amounts(tmp_path):
    rows = log(0)
    draw = np.random.default_rng(3)
    rows["kind"] = draw.integers(0, 5, 4000)
    rows["amount"] = draw.lognormal(size=4000)
    rows["copy"], rows["coarse"] = rows["kind"] * 10, np.round(np.log(rows["amount"]), 1)
    rows["labels"] = [f"a{item};b{item % 2}" for item in rows["kind"]]
    tasks = {
        "kind": {"kind": "multiclass", "label": "kind"},
        "labels": {"kind": "multilabel", "label": "labels"},
        "amount": {"kind": "value", "label": "amount"},
    }
    data = prepared(rows, tmp_path, {"copy": "categorical", "coarse": "numeric"}, tasks=tasks)
    assert sorted(serious(data)) == ["leak:coarse:amount", "leak:copy:kind", "leak:copy:labels"]


def test_conversions_without_a_click_are_counted(tmp_path):
    rows = log(0)
    split = {"by": "random", "validation": 0.0, "test": 0.0}
    wrong = np.flatnonzero(np.asarray(rows["click"]) == 0)[:100]
    rows["buy"][wrong[:1]] = 1
    (few,) = check(prepared(rows, tmp_path, split=split).prepare())
    assert (few.level, few.name) == ("warning", "funnel:buy")
    rows["buy"][wrong] = 1
    (many,) = check(prepared(rows, tmp_path, split=split).prepare())
    assert many.level == "serious"
    assert many.reason.startswith(f"100 of {rows['buy'].sum()} rows")


def test_repeated_rows_and_contradictions_are_counted():
    parts = {
        "ids": np.array([[1], [1], [1], [2], [3], [3]], dtype=np.int32),
        "dense": np.zeros((6, 1), dtype=np.float32),
        "labels": np.array([[1], [1], [0], [0], [1], [0]], dtype=np.float32),
        "mask": np.array([[True], [True], [True], [True], [True], [False]]),
    }
    result = count_repeated(parts, [("click", slice(0, 1), 0)])
    assert result == {"rows": 6, "duplicates": 1, "contradictions": {"click": 3 / 5}}


def test_a_log_written_twice_is_no_leak_of_ids(tmp_path):
    rows = {name: np.concatenate([values, values]) if name != "seen" else values * 2 for name, values in log(0).items()}
    data = prepared(rows, tmp_path, {"request": "categorical"}, split={"by": "random", "test": 0.0, "validation": 0.0})
    assert serious(data) == []
    result = inspect_log(data)
    assert result["repeated"]["duplicates"] == 4000
    assert "duplicates" in [finding["name"] for finding in result["findings"] if finding["level"] == "warning"]


def test_moving_test_rows_moves_nothing_that_is_checked_before_training(tmp_path):
    rows = log(0)
    rows["part"] = np.repeat(["train", "validation", "test"], [3000, 500, 500])
    first = measure(prepared(rows, tmp_path, split={"by": "given", "column": "part"}).prepare())
    for name in ("price", "click", "buy"):
        rows[name][3000:] = rows[name][3000:][::-1] + (100 if name == "price" else 0)
    second = measure(prepared(rows, tmp_path, split={"by": "given", "column": "part"}).prepare())
    assert (first["scores"], first["pairs"]) == (second["scores"], second["pairs"])


def test_a_sample_is_as_large_as_asked_and_agrees(tmp_path):
    store = (data := prepared(log(0, 20_000), tmp_path)).prepare().stores["train"]
    assert len(sample(store, len(store))["mask"]) == len(store)
    few = sample(store, 6400)
    assert len(few["mask"]) == 6400
    whole, part = (leak_scores(data.schema, rows) for rows in (sample(store, 20_000), few))
    assert part["price"]["click"] == pytest.approx(whole["price"]["click"], abs=0.03)


def test_the_check_is_done_once_for_the_same_data_and_code(tmp_path):
    rows = log(0)
    rows["leak"] = np.asarray(rows["click"]) * 2
    done = prepared(rows, tmp_path, {"leak": "categorical"}).prepare()
    first = check(done)
    file = done.path / FILE
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "findings": []}))
    assert check(done) == ()  # kept
    file.write_text(json.dumps({**content, "code": "of another version", "findings": []}))
    assert check(done) == first
    file.write_text("{")
    assert check(done) == first


def test_refusal_lists_all_that_is_not_accepted(tmp_path):
    rows = log(0)
    rows["leak"] = np.asarray(rows["click"]) * 2
    rows["buy"] = 1 - np.asarray(rows["click"])
    result = check(prepared(rows, tmp_path, {"leak": "categorical"}).prepare())
    with pytest.raises(QualityError) as error:
        refuse(result, ["leak:leak:click"])
    assert "leak:leak:click" not in str(error.value)
    assert {finding.name for finding in error.value.findings} == {"leak:leak:buy", "funnel:buy"}
    assert "data.accept=[leak:leak:buy,funnel:buy]" in str(error.value)
    refuse(result, ["leak:leak:click", "leak:leak:buy", "funnel:buy"])


def test_cramers_v_is_that_of_scipy_without_what_chance_gives():
    draw = np.random.default_rng(0)
    counts = draw.integers(1, 40, (4, 3))
    total, (rows, columns) = counts.sum(), counts.shape
    phi = chi2_contingency(counts, correction=False).statistic / total
    left = max(0, phi - (rows - 1) * (columns - 1) / (total - 1))
    small = min(rows - (rows - 1) ** 2 / (total - 1), columns - (columns - 1) ** 2 / (total - 1)) - 1
    assert cramers_v(counts) == pytest.approx(np.sqrt(left / small))
    padded = np.zeros((6, 5), dtype=int)
    padded[:4, 1:4] = counts
    assert cramers_v(padded) == pytest.approx(cramers_v(counts))
    assert cramers_v(np.array([[5, 3]])) is None
    chance = [np.bincount(draw.integers(0, 36, 300), minlength=36).reshape(6, 6) for _ in range(30)]
    assert np.mean([cramers_v(item) for item in chance]) < 0.05


def test_classes_and_several_labels_are_set_beside_others(tmp_path):
    rows = log(0)
    draw = np.random.default_rng(1)
    click = np.asarray(rows["click"])
    rows["kind"] = np.where(click == 1, draw.choice(["a", "b"], 4000), draw.choice(["b", "c"], 4000))
    rows["tags"] = [
        ["x"] * int(item) + ["y"] * int(two) for item, two in zip(rows["buy"], draw.random(4000) < 0.3, strict=True)
    ]
    tasks = {**TASKS, "kind": "multiclass", "tags": "multilabel"}
    options = {"tasks": tasks, "split": {"by": "random", "validation": 0.0, "test": 0.0}}
    result = inspect_log(prepared(rows, tmp_path, **options))
    pairs = {tuple(pair["tasks"]): pair for pair in result["pairs"]}
    counts = np.array([[((click == c) & (rows["kind"] == k)).sum() for k in "abc"] for c in (0, 1)])
    assert pairs["click", "kind"]["association"] == pytest.approx(cramers_v(counts))
    assert pairs["click", "kind"]["correlation"] is None
    assert pairs["buy", "tags"]["label"] == [None, "x"]
    assert pairs["buy", "tags"]["association"] == pytest.approx(1, abs=1e-3)
    assert pairs["seconds", "kind"]["rows"] == click.sum()
    assert pairs["seconds", "kind"]["association"] < 0.1
    assert len(pairs) == 10
    assert result["labels"]["kind"]["train"] == {"known": 4000, "mean": None}
    report = {related(pair) for pair in result["pairs"]}
    assert "V 1.000 (x)" in report
    page = quality_page({**result, "roles": {}}, "log", (MODERATE, LARGE))
    assert all(item in page for item in report)


def test_nulls_that_come_with_a_split_are_found(tmp_path):
    rows = log(0)
    rows["part"] = np.repeat(["train", "validation", "test"], [3000, 500, 500])
    rows["price"] = np.where((np.arange(4000) >= 3500) & (np.arange(4000) % 2 == 0), np.nan, rows["price"])
    rows["user"] = pa.array(np.where(np.arange(4000) % 9 == 0, -1, rows["user"]), mask=np.arange(4000) % 9 == 0)
    result = inspect_log(prepared(pa.table(rows), tmp_path, split={"by": "given", "column": "part"}))
    assert result["columns"]["price"]["missing"] == {"train": 0, "validation": 0, "test": 250}
    drifted = {
        finding["name"]: finding["level"] for finding in result["findings"] if finding["name"].startswith("null_drift")
    }
    assert drifted == {"null_drift:price:test": "warning"}
    text = missing(result["columns"]["price"], result["rows"])
    assert text == "6.25% (train 0.00%, validation 0.00%, test 50.00%)"


def test_a_column_without_a_value_is_a_warning(tmp_path):
    rows = log(0)
    rows["brand"] = pa.nulls(4000, pa.string())
    rows["mostly"] = pa.array([1.0] + [None] * 3999)
    result = inspect_log(prepared(pa.table(rows), tmp_path, {"brand": "categorical", "mostly": "numeric"}))
    report = {
        finding["name"]: (finding["level"], finding["reason"])
        for finding in result["findings"]
        if finding["name"].startswith("nulls")
    }
    assert report == {
        "nulls:brand": ("warning", "no row has a value of 'brand'"),
        "nulls:mostly": ("info", "99% of 'mostly' is missing"),
    }


def test_text_with_offsets_counts_by_its_day_in_utc():
    rates = DayRates()
    days = rates.days(
        pa.array(["2024-05-01T23:30:00-08:00", "2024-05-02", "2024-05-03T00:30:00+09:00", "x", "2024-05-02 late"])
    )
    rates.add("click", days, np.array([1.0, 0.0, 1.0, 1.0, 0.0]), np.ones(5, dtype=bool))
    assert rates.to_dict() == {"click": [{"day": "2024-05-02", "known": 4, "mean": 0.5}]}


def test_vectors_are_told_by_what_is_missing_and_by_their_norm(tmp_path):
    rows = log(0)
    draw = np.random.default_rng(3)
    vectors = draw.normal(size=(4000, 4))
    vectors[3500:] *= 3
    values = [None if i % 10 == 0 else [*map(float, row)] for i, row in enumerate(vectors)]
    values[1][2] = float("nan")
    rows["image"] = pa.array(values)
    rows["part"] = np.repeat(["train", "validation", "test"], [3000, 500, 500])
    data = prepared(
        pa.table(rows), tmp_path, {"image": {"kind": "vector", "size": 4}}, split={"by": "given", "column": "part"}
    )
    result = inspect_log(data)
    facts = result["features"]["image"]
    assert result["columns"]["image"]["gaps"] == pytest.approx(1 / (4 * 3600))
    assert {split: item["missing"] for split, item in facts["vector"].items()} == dict.fromkeys(result["rows"], 0.1)
    length = np.linalg.norm(vectors[3500:][np.arange(500) % 10 != 0], axis=1)
    assert facts["vector"]["test"]["norm"] == pytest.approx(length.mean(), rel=1e-5)
    assert facts["vector"]["test"]["deviation"] == pytest.approx(length.std(), rel=1e-4)
    assert facts["psi"]["validation"] < 0.1 < 0.25 < facts["psi"]["test"]
    assert "drift:image:test" in {finding["name"] for finding in result["findings"]}
    assert ["image", "test", "10.00%", f"{length.mean():.4g}", f"{length.std():.4g}"] in vector_rows(result["features"])


def test_drift_is_found_and_chance_is_not(tmp_path):
    rows = log(0)
    rows["part"] = np.repeat(["train", "validation", "test"], [3000, 500, 500])
    rows["price"][3500:] += 2
    result = inspect_log(prepared(rows, tmp_path, split={"by": "given", "column": "part"}))
    drifted = [finding["name"] for finding in result["findings"] if finding["name"].startswith("drift:")]
    assert drifted == ["drift:price:test"]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([0, 1, 86_400 * 3], pa.timestamp("s")),
        pa.array([0, 0, 3], pa.date32()),
        ["2024-01-01T10:00:00", "2024-01-01", "2024-01-04 00:00"],
        [1_704_067_200, 1_704_067_201, 1_704_326_400],
        [1_704_067_200_000, 1_704_067_200_001, 1_704_326_400_000],
    ],
)
def test_days_of_every_form_of_time(times):
    rates = DayRates()
    rates.add("click", rates.days(pa.array(times)), np.array([0.0, 1.0, 1.0]), np.ones(3, dtype=bool))
    days = rates.to_dict()["click"]
    assert [(day["known"], day["mean"]) for day in days] == [(2, 0.5), (1, 1.0)]
    assert days[0]["day"] in ("1970-01-01", "2024-01-01")
    assert days[1]["day"] in ("1970-01-04", "2024-01-04")


def test_numbers_that_are_no_dates_are_put_into_stretches():
    rates = DayRates()
    for start in range(0, 20_000, 5_000):
        steps = rates.days(pa.array(np.arange(start, start + 5_000)))
        rates.add("click", steps, np.ones(5_000), np.ones(5_000, dtype=bool))
    days = rates.to_dict()["click"]
    assert sum(day["known"] for day in days) == 20_000
    assert [day["day"] for day in days] == [str(512 * i) for i in range(len(days))]
    assert len(days) <= 60


def test_a_log_that_cannot_be_prepared_is_still_looked_at(tmp_path):
    rows = {**log(0), "click": np.zeros(4000, dtype=int)}
    result = inspect_log(prepared(rows, tmp_path))
    assert result["rows"]["train"] == 3200
    assert [finding["name"] for finding in result["findings"] if finding["level"] == "serious"] == ["prepare"]


def test_labels_of_effects_are_measured_at_any_rate():
    schema = Schema((), (Task(name="sale", kind="uplift", label="sale"),))
    labels = (np.arange(200) % 10 < 7).astype(np.float32)[:, None]
    ((_, target, positive),) = binary_targets(schema, schema.tasks[0], {"labels": labels, "mask": labels >= 0}, 8)
    assert positive == target.sum() == 140
