"""The simulated log is learnable and not trivial, and depends on its options only."""

import functools

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from mtl_lightning.data.cache import arrow_tables as kept_rows
from mtl_lightning.data.simulator import scenario
from mtl_lightning.data.sources import simulator
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.errors import DataError

ROWS, TRAIN = 160_000, 120_000


def expected_auc(score, chance):
    """Share of the pairs in their right order, if each row is positive with its chance."""
    order = np.argsort(score, kind="stable")
    p = np.asarray(chance, dtype=np.float64)[order]
    below = np.cumsum(1 - p) - (1 - p)
    return (p * below).sum() / (p.sum() * (1 - p).sum() - (p * (1 - p)).sum())


@functools.cache
def log(**options):
    return Simulator(rows=ROWS, **options).rows()


@pytest.fixture(scope="module")
def frame():
    return log().to_pandas()


def binned(frame, name, kind):
    """Codes of a feature: its values, or its quantiles, or the last item of a history."""
    column = frame[name]
    if kind == "numeric":
        return pd.qcut(column, 40, labels=False, duplicates="drop").fillna(-1).astype(int)
    return column.map(lambda items: items[-1] if len(items) else -1) if isinstance(kind, dict) else column


def test_oracle_is_calibrated_and_not_trivial(frame):
    assert 0.70 < expected_auc(frame.oracle_click, frame.oracle_click) < 0.85
    for label, oracle in (("click", "oracle_click"), ("conversion", "oracle_conversion")):
        tenth = pd.qcut(frame[oracle], 10, labels=False, duplicates="drop")
        groups = frame.groupby(tenth)
        error = groups[label].mean() - groups[oracle].mean()
        assert (error.abs() < 5 * np.sqrt(groups[oracle].mean() / groups.size())).all()
    clicked = frame[frame.click == 1]
    assert clicked.dwell.mean() == pytest.approx(clicked.oracle_dwell.mean(), rel=0.02)
    np.testing.assert_allclose(frame.oracle_click * frame.oracle_cvr, frame.oracle_conversion, rtol=1e-6)


def test_logistic_regression_stays_below_the_oracle(frame):
    features = Simulator().schema().features
    parts = []
    for name, kind in features.items():
        codes, _ = pd.factorize(binned(frame, name, kind))
        parts.append(sparse.csr_matrix((np.ones(ROWS), (np.arange(ROWS), codes)), shape=(ROWS, codes.max() + 1)))
    x = sparse.hstack(parts, format="csr")
    model = LogisticRegression(C=0.3, max_iter=300, tol=1e-3).fit(x[:TRAIN], frame.click[:TRAIN])
    test = frame[TRAIN:]
    oracle = expected_auc(test.oracle_click, test.oracle_click)
    fitted = expected_auc(model.decision_function(x[TRAIN:]), test.oracle_click)
    assert 0.55 < fitted < oracle - 0.01


def test_no_feature_alone_comes_near_the_oracle(frame):
    train, test = frame[:TRAIN], frame[TRAIN:]
    oracle = expected_auc(test.oracle_click, test.oracle_click)
    for name, kind in Simulator().schema().features.items():
        codes = binned(frame, name, kind)
        sums = train.groupby(codes[:TRAIN]).click.agg(["sum", "count"])
        rate = (sums["sum"] + 10 * train.click.mean()) / (sums["count"] + 10)
        score = codes[TRAIN:].map(rate).fillna(train.click.mean())
        assert expected_auc(score, test.oracle_click) < oracle - 0.08, name


def test_clicks_and_conversions_share_a_part_of_their_preferences(frame):
    click = np.log(frame.oracle_click / (1 - frame.oracle_click))
    convert = np.log(frame.oracle_cvr / (1 - frame.oracle_cvr))
    assert 0.2 < np.corrcoef(click, convert)[0, 1] < 0.8


def test_what_is_clicked_is_no_fair_sample(frame):
    clicked = frame.oracle_cvr[frame.click == 1].mean()
    assert clicked > 1.2 * frame.oracle_cvr.mean()
    assert frame.conversion.mean() > 0.01


def test_popularity_position_and_exposure_have_their_effects(frame):
    shares = frame.item_id.value_counts(normalize=True)
    assert shares.iloc[:30].sum() > 4 * 30 / len(shares)
    assert frame.groupby("position").oracle_click.mean().is_monotonic_decreasing
    assert frame.timestamp.is_monotonic_increasing
    assert (frame.groupby("request_id").user_id.nunique() == 1).all()
    hours = pd.to_datetime(frame.timestamp, unit="s").dt
    assert (hours.hour == frame.hour).all()
    assert (hours.day_of_week == frame.weekday).all()


def test_outcomes_are_known_where_they_can_be(frame):
    assert (frame.dwell.notna() == (frame.click == 1)).all()
    assert (frame.conversion_delay.notna() == (frame.conversion == 1)).all()
    assert (frame.conversion <= frame.click).all()
    assert 0.01 < frame.user_age.isna().mean() < 0.1


def test_history_is_what_the_user_clicked_before(frame):
    past = {}
    for request, rows in frame[:20_000].groupby("request_id"):
        user = rows.user_id.iloc[0]
        assert all(list(history) == past.get(user, [])[-10:] for history in rows.history), request
        past.setdefault(user, []).extend(rows.item_id[rows.click == 1])


def test_late_conversions_are_missed_while_the_oracle_stays():
    whole, cut = log(days=2).to_pandas(), log(days=2, delayed=True).to_pandas()
    np.testing.assert_array_equal(whole.oracle_conversion, cut.oracle_conversion)
    late = whole.conversion_delay > whole.elapsed
    assert late.sum() > 100
    np.testing.assert_array_equal(cut.conversion == 1, (whole.conversion == 1) & ~late)
    assert cut.conversion_delay[late].isna().all()


def test_selection_turns_conversions_against_what_attracts_clicks(frame):
    plain, strong = frame, log(selection=1.0).to_pandas()
    clicked = strong.click == 1
    assert strong.click.mean() == pytest.approx(plain.click.mean(), abs=0.01)
    assert strong.conversion[clicked].mean() == pytest.approx(plain.conversion[plain.click == 1].mean(), abs=0.02)
    assert strong.oracle_click.std() > 1.2 * plain.oracle_click.std()
    first = strong[strong.position == strong.position.min()]
    click = np.log(first.oracle_click / (1 - first.oracle_click))
    convert = np.log(first.oracle_cvr / (1 - first.oracle_cvr))
    below, above = click < -1.0, click > -1.0
    assert np.polyfit(click[below], convert[below], 1)[0] > 0.5
    assert np.polyfit(click[above], convert[above], 1)[0] < 0.0
    # Most impressions lie where conversions rise with interest, most clicks where they fall.
    assert below.mean() > 0.5
    assert first.click[above].sum() > 0.75 * first.click.sum()


def test_selection_belongs_to_ads():
    with pytest.raises(DataError, match="selection"):
        Simulator(scenario="news", selection=1.0).schema()
    with pytest.raises(DataError, match="selection"):
        Simulator(selection=-1.0)


def test_same_seed_same_log_another_seed_another():
    first, again = (Simulator(rows=5_000, seed=3).rows() for _ in range(2))
    assert first.data.table.equals(again.data.table)
    assert not first.data.table.equals(Simulator(rows=5_000, seed=4).rows().data.table)
    assert Simulator(rows=5_000).fingerprint() != Simulator(rows=5_001).fingerprint()


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 65_536, 65_537])
def test_row_count_is_exact(rows):
    assert Simulator(rows=rows).rows().num_rows == rows


def test_log_does_not_depend_on_how_it_is_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(scenario, "CHUNK", 500)
    source = Simulator(rows=9_001, users=100, items=50)
    whole = source.rows().data.table.combine_chunks()
    single = source.write_parquet(tmp_path / "log.parquet")
    many = source.write_parquet(tmp_path / "parts", rows_per_file=3_000)
    assert len(single) == 1
    assert len(many) > 2
    assert pq.read_table(single[0]).combine_chunks().equals(whole)
    assert pa.concat_tables([pq.read_table(path) for path in many]).combine_chunks().equals(whole)
    monkeypatch.setattr(simulator, "IN_MEMORY", 4_000)
    monkeypatch.setattr(kept_rows, "ROWS_PER_FILE", 4_000)
    for _ in range(2):
        mapped = source.rows()
        assert len(mapped.cache_files) > 1
        assert mapped.data.table.combine_chunks().equals(whole)


def test_schema_tells_leaks_from_features():
    schema = Simulator().schema()
    table = Simulator(rows=10).rows().data.table
    assert {
        name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)
    } == schema.columns
    assert not set(schema.features) & {*schema.oracle, *schema.after_event}
    assert {"click", "dwell", "conversion", "conversion_delay"} <= set(schema.after_event)
    assert all(task["oracle"] in schema.oracle for task in schema.tasks.values())


@pytest.mark.parametrize("options", [{"scenario": "banking"}, {"rows": -1}, {"users": 0}, {"days": 0}])
def test_impossible_worlds_are_refused(options):
    with pytest.raises(DataError, match=next(iter(options))):
        Simulator(**options).rows()


def test_log_has_no_splits_of_its_own():
    with pytest.raises(DataError, match="validation"):
        Simulator(rows=10).rows("validation")
