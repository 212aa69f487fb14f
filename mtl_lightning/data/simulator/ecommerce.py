"""Shop scenario: view → cart → purchase, the rating after a purchase, and the category viewed next."""

import numpy as np
import pyarrow as pa

from mtl_lightning.data.simulator.columns import Columns, Names, raw_schema
from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.population import SEGMENTS, Floats, Ints
from mtl_lightning.data.simulator.preference import CHOICE, sigmoid
from mtl_lightning.data.simulator.scenario import Scenario, as_labels, draw_events, draw_first

VIEW_RATE, CART_RATE, PURCHASE_RATE = 0.28, 0.3, 0.4
RATING_STEPS = np.array([2.6, 1.9, 0.9, -0.7], dtype=np.float32)
"""Logits of more than 1, 2, 3 and 4 stars for a buyer of average satisfaction."""
STAY = 1.2
"""Increase of the logit that the next viewed item has the same category."""

NAMES = Names(owner="brand_id", group="collection_id", appeal="stars", formats=("tile", "banner", "list", "story"))
OUTCOMES = {
    "view": pa.int8(),
    "cart": pa.int8(),
    "purchase": pa.int8(),
    "rating": pa.int8(),
    "next_category": pa.string(),
    "oracle_view": pa.float32(),
    "oracle_cart": pa.float32(),
    "oracle_purchase": pa.float32(),
    "oracle_cart_rate": pa.float32(),
    "oracle_purchase_rate": pa.float32(),
    "oracle_rating": pa.float32(),
    "oracle_next_category": pa.float32(),
}
TASKS = {
    "view": {"kind": "binary", "label": "view", "oracle": "oracle_view"},
    "cart": {"kind": "binary", "label": "cart", "parents": ["view"], "oracle": "oracle_cart"},
    "purchase": {"kind": "binary", "label": "purchase", "parents": ["cart"], "oracle": "oracle_purchase"},
    "rating": {"kind": "regression", "label": "rating", "observed_when": "purchase == 1", "oracle": "oracle_rating"},
    "next_category": {"kind": "multiclass", "label": "next_category", "observed_when": "view == 1"},
}


class Ecommerce(Scenario):
    """Views of products, carts, purchases, ratings and browsing paths.

    Columns:

    - ``cart``: view ∧ cart, over all exposures.
    - ``purchase``: view ∧ cart ∧ purchase, over all exposures.
    - ``rating``: 1 to 5; null without a purchase.
    - ``next_category``: category of the item that the user views next; null without a view.
    - ``oracle_view``, ``oracle_cart``, ``oracle_purchase``: probabilities of these labels given x.
    - ``oracle_cart_rate``: P(cart | view, x), also without a view.
    - ``oracle_purchase_rate``: P(purchase | cart, x), also without a cart.
    - ``oracle_rating``: E[rating | purchase, x].
    - ``oracle_next_category``: probability of the likeliest next category; its mean is the best possible accuracy.
    """

    slots = 4
    categories = (
        "dresses", "shoes", "coats", "phones", "laptops", "cameras", "toys", "books", "kitchen", "garden",
    )  # fmt: skip
    names = NAMES
    raw, arrow = raw_schema(NAMES, OUTCOMES, TASKS)

    def prepare(self, rng: np.random.Generator, sample: Exposures) -> None:
        """Draw a preference per stage, each calibrated over the exposures that reach the stage."""
        self.view = self.first_preference(sample, VIEW_RATE)
        views = sigmoid(self.view.logit(sample))
        self.cart = self.preference(rng, sample, CART_RATE, CHOICE, among=views)
        carts = views * sigmoid(self.cart.logit(sample))
        self.purchase = self.preference(rng, sample, PURCHASE_RATE, CHOICE, correlation=0.4, among=carts)
        self.content = self.preference(rng, sample, None, CHOICE, correlation=0.3)
        count = len(self.categories)
        path = 0.8 * rng.normal(size=(count, count)) + STAY * np.eye(count)
        logits = 0.8 * rng.normal(size=(SEGMENTS, 1, count)) + path[None]
        chances = np.exp(logits)
        self.next_chance: Floats = (chances / chances.sum(axis=2, keepdims=True)).astype(np.float32)
        self.next_edges = np.cumsum(self.next_chance, axis=2)[:, :, :-1]

    def rows(self, rng: np.random.Generator, exposures: Exposures) -> tuple[Columns, Ints]:
        """Draw the outcomes in their order; views enter histories."""
        p_view = sigmoid(self.view.logit(exposures))
        p_cart = sigmoid(self.cart.logit(exposures))
        p_purchase = sigmoid(self.purchase.logit(exposures))
        view = draw_first(rng, exposures, p_view)
        cart = view & draw_events(rng, p_cart)
        purchase = cart & draw_events(rng, p_purchase)
        more = sigmoid(self.content.logit(exposures)[:, None] + RATING_STEPS)
        segment = self.users.segment[exposures.user]
        category = self.items.category[exposures.item]
        viewed, bought = np.flatnonzero(view), np.flatnonzero(purchase)
        # Comparing one uniform number with all thresholds gives the ordered stars of a proportional-odds model.
        stars = np.zeros(len(exposures), dtype=np.int8)
        stars[bought] = 1 + (rng.random((len(bought), 1), dtype=np.float32) < more[bought]).sum(axis=1)
        edges = self.next_edges[segment[viewed], category[viewed]]
        following = np.zeros(len(exposures), dtype=np.int64)
        following[viewed] = (rng.random((len(viewed), 1), dtype=np.float32) >= edges).sum(axis=1)
        return {
            **self.side.columns(exposures),
            "view": as_labels(view),
            "cart": as_labels(cart),
            "purchase": as_labels(purchase),
            "rating": pa.array(stars, mask=~purchase),
            "next_category": pa.array(self.categories).take(pa.array(following, mask=~view)),
            "oracle_view": pa.array(p_view),
            "oracle_cart": pa.array(p_view * p_cart),
            "oracle_purchase": pa.array(p_view * p_cart * p_purchase),
            "oracle_cart_rate": pa.array(p_cart),
            "oracle_purchase_rate": pa.array(p_purchase),
            "oracle_rating": pa.array(1 + more.sum(axis=1)),
            "oracle_next_category": pa.array(self.next_chance.max(axis=2)[segment, category]),
        }, viewed
