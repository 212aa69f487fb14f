"""Public logs from raw files: every known quirk, and each log through preparation to batches."""

import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
import raw_logs

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources import raw_log
from mtl_lightning.data.sources.ali_ccp import AliCCP, fields_of
from mtl_lightning.data.sources.aliexpress import AliExpress
from mtl_lightning.data.sources.census_income import CensusIncome
from mtl_lightning.data.sources.criteo_attribution import CriteoAttribution
from mtl_lightning.data.sources.criteo_search import CriteoSearch
from mtl_lightning.data.sources.ebnerd import EBNeRD
from mtl_lightning.data.sources.kuairand import KuaiRand
from mtl_lightning.data.sources.mind import MIND
from mtl_lightning.data.sources.movielens_1m import MovieLens1M
from mtl_lightning.data.sources.tenrec import Tenrec
from mtl_lightning.data.sources.wechat import WeChat
from mtl_lightning.errors import DataError

pytestmark = pytest.mark.usefixtures("cache")

LOADERS = {
    "ali_ccp": AliCCP,
    "aliexpress": AliExpress,
    "census_income": CensusIncome,
    "criteo_attribution": CriteoAttribution,
    "criteo_search": CriteoSearch,
    "ebnerd": EBNeRD,
    "kuairand": KuaiRand,
    "mind": MIND,
    "movielens_1m": MovieLens1M,
    "tenrec": Tenrec,
    "wechat": WeChat,
}
FORMS = {name: (kind, {}) for name, kind in LOADERS.items()} | {
    "aliexpress_processed": (AliExpress, {"processed": True}),
    "tenrec_article": (Tenrec, {"scenario": "qk_article"}),
}


def source(name, **options):
    kind, more = FORMS[name]
    return kind(path=str(raw_logs.written(name)), **{**more, **options})


def rows(name, split=None, **options):
    return source(name, **options).rows(split).to_list()


@pytest.mark.parametrize("name", FORMS)
def test_raw_files_become_batches(name, tmp_path):
    log = source(name)
    for split in log.schema().splits or (None,):
        schema = log.rows(split).data.schema
        result = {name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)}
        assert result == log.schema().columns
    data = DataModule(log, batch_size=64, cache_dir=tmp_path / "prepared")
    data.prepare()
    assert {task.name for task in data.schema.tasks} == set(log.schema().tasks)
    assert sum(len(batch) for batch in data.train_dataloader()) > 100


@pytest.mark.parametrize("name", LOADERS)
def test_directory_without_the_files_is_named(name, tmp_path):
    with pytest.raises(DataError, match=f"{name}: .*{tmp_path.name}"):
        LOADERS[name](path=str(tmp_path)).rows()


@pytest.mark.parametrize("name", LOADERS)
def test_schema_needs_no_files(name):
    schema = LOADERS[name](path="nowhere").schema()
    features = {item if isinstance(spec, str) else spec.get("column", item) for item, spec in schema.features.items()}
    assert features
    assert features <= set(schema.columns) - set(schema.after_event)


def test_rows_are_read_once_and_again_when_a_file_changes(cache, tmp_path):
    shutil.copytree(raw_logs.written("tenrec"), tmp_path / "raw")
    log = Tenrec(path=str(tmp_path / "raw"))
    before, fingerprint = len(log.rows()), log.fingerprint()
    remaining = sorted(cache.rglob("*.arrow"))
    stamps = [path.stat().st_mtime_ns for path in remaining]
    assert len(log.rows()) == before
    assert [path.stat().st_mtime_ns for path in remaining] == stamps
    with (tmp_path / "raw" / "ctr_data_1M.csv").open("a") as file:
        file.write(",".join(["1"] * 20) + "\n")
    assert log.fingerprint() != fingerprint
    assert len(log.rows()) == before + 1


def test_rows_are_read_again_when_the_code_that_loaders_share_changes(cache, tmp_path, monkeypatch):
    code = [Path(shutil.copy(item, tmp_path)) for item in raw_log.SHARED]
    monkeypatch.setattr(raw_log, "SHARED", code)
    log = source("tenrec")
    log.rows()
    before = len(list(cache.rglob("all")))
    source("tenrec").rows()
    assert len(list(cache.rglob("all"))) == before
    code[-1].write_text(code[-1].read_text() + "# another reading of lists")
    source("tenrec").rows()
    assert len(list(cache.rglob("all"))) == before + 1


def test_ali_ccp_keeps_repeated_fields_and_drops_purchases_without_click():
    first, second, *rest = rows("ali_ccp", "train")
    assert first["f853"] == ["x", "y"]
    assert first["f109_14"] == ["a", "b"]
    assert (first["f101"], first["f121"], first["f205"]) == (["u1"], ["9"], ["i1"])
    assert first["f206"] == []
    # Sample 2 was bought without a click; of sample 3 the common features are missing.
    assert second["sample_id"] == "3"
    assert (second["f101"], second["f206"]) == ([], ["k"])
    assert all(row["purchase"] <= row["click"] for row in rest)
    other = rest[1]  # of the second user
    assert other["sample_id"] == "5"
    assert (other["f110_14"], other["f127_14"], other["f150_14"]) == (["s", "t"], ["b"], ["n", "m"])
    assert (other["f109_14"], other["f210"]) == ([], ["t1", "t1"])


def test_ali_ccp_keeps_weights_of_fields_with_many_values():
    first, _, *rest = rows("ali_ccp", "train")
    assert first["f109_14_weight"] == [0.5, 2.25]
    assert first["f853_weight"] == [1.0, 1.0]
    assert first["f210_weight"] == []
    schema = source("ali_ccp").schema()
    assert schema.features["f109_14"] == {"kind": "sequence", "length": 50, "weights": "f109_14_weight"}
    assert schema.features["f101"] == {"kind": "sequence", "length": 1}
    weighted = {name.removesuffix("_weight") for name in schema.columns if name.endswith("_weight")}
    assert all(len(row[name]) == len(row[f"{name}_weight"]) for row in rest for name in weighted)


def test_ali_ccp_values_without_a_weight_have_a_null():
    pieces = pa.array(["210\x02a\x01210\x02b\x03\x01210\x02c\x031e-1"])
    assert fields_of(pieces, ("210",)).to_pydict() == {
        "f210": [["a", "b", "c"]],
        "f210_weight": [[None, None, pytest.approx(0.1)]],
    }


@pytest.mark.parametrize("weight", ["-1.0", "nan", "much", "1.0x"])
def test_ali_ccp_refuses_other_weights(weight, tmp_path):
    shutil.copytree(raw_logs.written("ali_ccp"), tmp_path / "raw")
    with (tmp_path / "raw" / "common_features_train.csv").open("a") as file:
        file.write(f"c7,1,109_14\x02u9\x03{weight}\n")
    with pytest.raises(DataError, match=rf"common_features_train\.csv: '{weight}' is not a weight"):
        AliCCP(path=str(tmp_path / "raw")).rows("train")


def test_ali_ccp_common_features_must_be_unique(tmp_path):
    shutil.copytree(raw_logs.written("ali_ccp"), tmp_path / "raw")
    with (tmp_path / "raw" / "common_features_train.csv").open("a") as file:
        file.write("c1,1,101\x02u9\x031.0\n")
    with pytest.raises(DataError, match=r"common_features_train\.csv: 1 rows repeat the common_feature_index"):
        AliCCP(path=str(tmp_path / "raw")).rows("train")


def test_aliexpress_joins_searches_and_reads_the_outcome():
    train = rows("aliexpress", "train")
    assert len(train) == raw_logs.ROWS  # the item of an unknown search is dropped
    assert [(row["click"], row["conversion"]) for row in train[:3]] == [(0, 0), (1, 0), (1, 1)]
    assert (train[0]["search_id"], train[0]["user_32"], train[0]["user_9"], train[0]["item_2"]) == (
        "s0",
        "c1",
        0.5,
        1.5,
    )
    assert not {"item_49", "user_1", "item_1"} & set(train[0])


def test_aliexpress_outcome_must_be_known(tmp_path):
    shutil.copytree(raw_logs.written("aliexpress"), tmp_path / "raw")
    path = tmp_path / "raw" / "NL_train_item.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_item.csv", ",".join(["s0", *["1"] * 47, "3"]) + "\n")
    with pytest.raises(DataError, match="item_49 is 3"):
        AliExpress(path=str(tmp_path / "raw")).rows("train")


def test_kuairand_joins_users_and_videos_and_all_pieces_of_the_log():
    log = rows("kuairand")
    assert len(log) == raw_logs.ROWS
    assert [row["time_ms"] for row in log] == sorted(row["time_ms"] for row in log)
    assert log[0]["duration_ms"] == 0
    assert log[0]["follow_user_num_range"] == "[100,1k)"
    assert (log[0]["onehot_feat11"], log[0]["onehot_feat12"], log[1]["onehot_feat13"]) == (3, None, 1)
    assert (log[1]["tag"], log[2]["tag"]) == (["11", "4"], [])
    assert log[9]["user_active_degree"] is None
    assert log[23]["hour"] == 23
    both = rows("kuairand", parts=["standard", "random"])
    assert len(both) == raw_logs.ROWS + 20
    assert both[-1]["is_rand"] == 1


def test_kuairand_statistics_come_when_asked_for():
    log = source("kuairand", statistics=True)
    result = log.rows().to_list()
    assert [result[row]["statistic_show_cnt"] for row in (2, 14)] == [20.5, 140.5]  # from both of its pieces
    assert "statistic_show_cnt" in log.schema().columns
    assert "statistic_show_cnt" not in log.schema().features
    assert "play_time_ms" in log.schema().after_event


def test_tenrec_keeps_conflicting_pairs_and_drops_padding_of_histories():
    first, second, *_ = rows("tenrec")
    assert (first["user_id"], first["item_id"]) == (second["user_id"], second["item_id"])
    assert (first["click"], second["click"]) == (0, 1)
    assert (first["video_category"], second["video_category"]) == (None, 0)
    assert (first["history"], second["history"]) == ([7, 8], [])


def test_tenrec_has_its_other_videos_without_histories(tmp_path):
    columns = "user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age"
    (tmp_path / "QB-video.csv").write_text(f"{columns}\n1,5,1,0,0,0,\\N,3,2,7\n1,5,0,0,0,0,4,0,2,7\n")
    log = Tenrec(path=str(tmp_path), scenario="qb_video")
    assert [(row["click"], row["video_category"], row["history"]) for row in log.rows().to_list()] == [
        (1, None, []),
        (0, 4, []),
    ]
    assert "watching_times" in log.schema().after_event


def test_mind_splits_impressions_and_keeps_quotes():
    first, second, third, *rest = rows("mind", "train")
    assert [(row["news_id"], row["click"], row["position"]) for row in (first, second, third)] == [
        ("N3", 1, 1),
        ("N4", 0, 2),
        ("N5", 0, 1),
    ]
    assert (first["history"], third["history"]) == (["N1", "N2"], [])
    assert (first["timestamp"], first["hour"], third["hour"]) == (1_573_463_158, 9, 18)
    assert (first["title"], first["abstract"]) == ('Unbalanced " quote', None)
    assert second["title"] == 'He said "go" 4'
    assert any(row["title"] is None for row in rest)  # news that the file has not
    assert [row["click"] for row in rows("mind", "test")] == [None, None]


def test_mind_works_without_a_test_directory(tmp_path):
    shutil.copytree(raw_logs.written("mind"), tmp_path / "raw")
    shutil.rmtree(tmp_path / "raw" / "MINDlarge_test")
    assert len(MIND(path=str(tmp_path / "raw")).rows("test")) == 0


def test_mind_leaves_out_the_split_without_labels_when_asked():
    log = source("mind", splits=["train", "validation"])
    assert log.schema().splits == ("train", "validation")
    assert None not in {row["click"] for row in log.rows().to_list()}
    assert log.fingerprint() != source("mind").fingerprint()
    with pytest.raises(DataError, match="no split 'dev'"):
        source("mind", splits=["dev"])


def test_ebnerd_reading_belongs_to_what_was_clicked():
    log = rows("ebnerd", "train")
    for row in log:
        assert row["click"] or (row["next_read_time"] is None and row["next_scroll_percentage"] is None)
    clicked = [row for row in log if row["click"]]
    assert sum(row["next_read_time"] is None for row in clicked) == pytest.approx(len(clicked) / 5, rel=0.2)
    assert [row["position"] for row in log[:5]] == [1, 2, 3, 4, 1]
    assert sum(row["click"] for row in log[:4]) == 2
    assert (log[0]["history"], log[0]["history_read_time"]) == ([101, 102], [7.0, 9.5])
    assert log[24]["history"] is None
    assert any(row["title"] is None for row in log)


def test_census_income_trims_and_hides_the_second_label():
    train, test = rows("census_income", "train"), rows("census_income", "test")
    assert (train[0]["high_income"], train[1]["high_income"]) == (1, 0)
    assert (train[0]["never_married"], train[1]["never_married"]) == (0, 1)
    assert train[0]["mig_chg_msa"] is None
    assert train[0]["education"] == "grade 0"
    assert (train[0]["region_prev_res"], test[0]["region_prev_res"]) == ("West", "Abroad")
    assert not {"instance_weight", "marital_stat"} & set(source("census_income").schema().features)


def test_criteo_search_has_no_sentinels_left():
    first, *rest = rows("criteo_search")
    assert (first["sale"], first["sales_amount"], first["conversion_delay"]) == (0, 0.0, None)
    assert (first["clicks_last_week"], first["product_age_group"], first["product_gender"]) == (None, None, None)
    assert first["product_title"] == 'red shoes "men'
    assert all((row["conversion_delay"] is not None) == (row["sales_amount"] > 0) == row["sale"] for row in rest)
    assert "product_price" not in source("criteo_search").schema().features


def test_criteo_attribution_funnel_needs_the_click():
    first, *rest = rows("criteo_attribution")
    assert (first["conversion"], first["click"], first["click_conversion"]) == (1, 0, 0)
    assert (first["click_pos"], first["time_since_last_click"]) == (None, None)
    assert all(row["click_conversion"] == row["click"] * row["conversion"] for row in rest)
    leaks = {"conversion_timestamp", "conversion_id", "attribution", "click_pos", "click_nb", "cpo"}
    assert leaks <= set(source("criteo_attribution").schema().after_event)


def test_wechat_splits_lists_and_drops_probabilities():
    log = rows("wechat")
    assert (log[0]["machine_tag_list"], log[0]["manual_keyword_list"]) == (["31", "32"], ["11", "12"])
    assert (log[0]["bgm_song_id"], log[1]["bgm_song_id"]) == (None, 5)
    assert log[0]["feed_embedding"] == [0.5, -1.25]
    assert (log[5]["authorid"], log[5]["machine_tag_list"]) == (None, None)


def test_movielens_1m_is_read_in_its_encoding():
    first, second, *rest = rows("movielens_1m")
    assert (first["title"], first["release_year"], first["genres"]) == ("Misérables, Les", 1995, ["Drama", "Musical"])
    assert (second["title"], second["release_year"]) == ("M:Odd, no year", None)
    assert first["zip_code"] == "01067"
    assert any(row["title"] == "Film, The: 3" for row in rest)
    assert any(row["title"] is None for row in rest)
