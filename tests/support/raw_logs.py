"""Small public logs in exactly the form in which they are downloaded."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import raw_media
import raw_shops
from raw_lines import ROWS

__all__ = ["LOADERS", "ROWS", "WRITERS", "written"]

WRITERS = {
    "ali_ccp": raw_shops.ali_ccp,
    "aliexpress": raw_shops.aliexpress,
    "aliexpress_processed": raw_shops.aliexpress_processed,
    "census_income": raw_shops.census_income,
    "criteo_attribution": raw_shops.criteo_attribution,
    "criteo_search": raw_shops.criteo_search,
    "ebnerd": raw_media.ebnerd,
    "kuairand": raw_media.kuairand,
    "mind": raw_media.mind,
    "movielens_1m": raw_media.movielens_1m,
    "tenrec": raw_media.tenrec_video,
    "tenrec_article": raw_media.tenrec_article,
    "wechat": raw_media.wechat,
}
"""Writers of raw files by the name of their loader, or of one of its forms."""

LOADERS = {
    "aliexpress_processed": ("aliexpress", {"processed": True}),
    "tenrec_article": ("tenrec", {"scenario": "qk_article"}),
}
"""Forms that aren't called like their loader: the loader, and its options."""


@functools.cache
def written(name):
    """Directory with one log's raw files; it is there until the process ends."""
    directory = Path(tempfile.mkdtemp(prefix="mtl-raw-")) / name
    atexit.register(shutil.rmtree, directory.parent, ignore_errors=True)
    WRITERS[name](directory)
    return directory
