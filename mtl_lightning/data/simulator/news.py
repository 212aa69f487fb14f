"""News scenario: clicks, reading time, shares, and the tags of an article's text."""

import numpy as np
import pyarrow as pa

from mtl_lightning.data.simulator.articles import VOCABULARY, draw_articles
from mtl_lightning.data.simulator.columns import Columns, Names, raw_schema
from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.population import Ints
from mtl_lightning.data.simulator.preference import CHOICE, MILD, sigmoid
from mtl_lightning.data.simulator.scenario import Scenario, as_labels, draw_durations, draw_events, draw_first

CLICK_RATE, SHARE_RATE = 0.2, 0.15
READ_SHAPE, READ_SECONDS = 2.5, 60.0

NAMES = Names(
    item="article_id",
    owner="author_id",
    group="publisher_id",
    amount="article_length",
    appeal="freshness",
    formats=("headline", "photo", "video", "live"),
    unit=15.0,
)
OUTCOMES = {
    "title": pa.string(),
    "summary": pa.string(),
    "click": pa.int8(),
    "read_time": pa.float32(),
    "share": pa.int8(),
    "tags": pa.list_(pa.string()),
    "oracle_click": pa.float32(),
    "oracle_read_time": pa.float32(),
    "oracle_share": pa.float32(),
    "oracle_share_rate": pa.float32(),
    "oracle_tags": pa.struct([(name, pa.float32()) for name in VOCABULARY]),
}
FEATURES = {
    "title": {"kind": "sequence", "separator": " ", "length": 8},
    "summary": {"kind": "sequence", "separator": " ", "length": 24},
}
TASKS = {
    "click": {"kind": "binary", "label": "click", "oracle": "oracle_click"},
    "read_time": {
        "kind": "regression",
        "label": "read_time",
        "observed_when": "click == 1",
        "oracle": "oracle_read_time",
    },
    "share": {"kind": "binary", "label": "share", "parents": ["click"], "oracle": "oracle_share"},
    "tags": {"kind": "multilabel", "label": "tags", "oracle": "oracle_tags"},
}


class News(Scenario):
    """Clicks on articles, seconds of reading, shares, and tags given by a random editor.

    Columns:

    - ``title``, ``summary``: text.
    - ``share``: click ∧ share, over all exposures.
    - ``read_time``: seconds; null without a click.
    - ``tags``: list of names, by another editor at each exposure.
    - ``oracle_click``: P(click | x).
    - ``oracle_share_rate``: P(share | click, x).
    - ``oracle_share``: product of these two.
    - ``oracle_read_time``: E[seconds | click, x].
    - ``oracle_tags``: P(tag | category, text), a struct by the tag's name.
    """

    slots = 5
    categories = (
        "politics",
        "business",
        "world",
        "local",
        "sports",
        "culture",
        "technology",
        "science",
        "life",
        "opinion",
    )
    names = NAMES
    raw, arrow = raw_schema(NAMES, OUTCOMES, TASKS, FEATURES)

    def prepare(self, rng: np.random.Generator, sample: Exposures) -> None:
        """Draw preferences for shares and reading whose tastes are correlated with the tastes for clicks."""
        self.click = self.first_preference(sample, CLICK_RATE)
        clicks = sigmoid(self.click.logit(sample))
        self.share = self.preference(rng, sample, SHARE_RATE, CHOICE, among=clicks)
        self.read = self.preference(rng, sample, None, MILD, correlation=0.6)
        self.articles = draw_articles(rng, self.items.category, len(self.categories))

    def rows(self, rng: np.random.Generator, exposures: Exposures) -> tuple[Columns, Ints]:
        """Draw the outcomes in their order; clicks enter histories."""
        p_click = sigmoid(self.click.logit(exposures))
        p_share = sigmoid(self.share.logit(exposures))
        mean_read = np.float32(READ_SECONDS) * np.exp(self.read.logit(exposures))
        click = draw_first(rng, exposures, p_click)
        share = click & draw_events(rng, p_share)
        article = pa.array(exposures.item)
        tags, chance = self.articles.tags(rng, exposures.item)
        return {
            **self.side.columns(exposures),
            "title": self.articles.title.take(article),
            "summary": self.articles.summary.take(article),
            "click": as_labels(click),
            "read_time": draw_durations(rng, mean_read, click, READ_SHAPE),
            "share": as_labels(share),
            "tags": tags,
            "oracle_click": pa.array(p_click),
            "oracle_read_time": pa.array(mean_read),
            "oracle_share": pa.array(p_click * p_share),
            "oracle_share_rate": pa.array(p_share),
            "oracle_tags": chance,
        }, np.flatnonzero(click)
