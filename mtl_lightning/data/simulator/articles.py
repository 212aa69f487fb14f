"""Articles whose title and summary give noisy evidence of their tags."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mtl_lightning.data.simulator.population import Floats, Ints
from mtl_lightning.data.simulator.scenario import as_lists

VOCABULARY = {
    "election": "vote ballot poll candidate campaign turnout seat coalition",
    "economy": "inflation growth jobs prices rates budget trade debt",
    "crime": "court police trial verdict suspect judge prison charge",
    "climate": "warming emissions flood drought heat storm carbon sea",
    "health": "hospital virus vaccine doctor patients care drug study",
    "football": "goal league striker coach penalty transfer derby final",
    "tennis": "serve baseline set match open racket seed volley",
    "film": "director premiere cast sequel festival screen actor script",
    "music": "album tour singer chart concert band stage song",
    "science": "telescope particle lab discovery genome orbit theory species",
    "gadgets": "phone chip battery camera update launch keyboard app",
    "travel": "airport beach hotel rail island border tourists flight",
}
"""Words by tag. No word belongs to two tags, so words count as evidence for a single tag."""

FILLERS = (
    "the",
    "a",
    "of",
    "in",
    "on",
    "and",
    "for",
    "with",
    "after",
    "over",
    "new",
    "more",
    "last",
    "first",
    "week",
    "may",
)
"""Words without any evidence."""

WORDS_WITH, WORDS_WITHOUT = 2.2, 0.15
"""Mean number of a tag's words in an article with the tag, and in an article without it."""

TITLE_WORDS = 3


@dataclass(frozen=True, slots=True)
class Articles:
    """Texts of all articles, one row per item, and the probabilities of their tags.

    Args:
        title: First words of the text, [I].
        summary: Other words of the text, [I].
        chance: P(tag | category, words) in the order of :data:`VOCABULARY`, [I, K].
    """

    title: pa.Array
    summary: pa.Array
    chance: Floats

    def tags(self, rng: np.random.Generator, article: Ints) -> tuple[pa.Array, pa.Array]:
        """Draw the tags of each row.

        Args:
            rng: Random generator.
            article: Index of each row's article, [N].

        Returns:
            Lists of the tags' names, [N], and the probability of every tag, a struct by name, [N].

        Example:
            >>> articles = draw_articles(np.random.default_rng(0), np.zeros(2, dtype=int), 3)
            >>> drawn, chances = articles.tags(np.random.default_rng(0), np.array([1, 0]))
            >>> drawn.type, sorted(chances[0].as_py()) == sorted(VOCABULARY)
            (ListType(list<item: string>), True)
        """
        names = list(VOCABULARY)
        chance = self.chance[article]
        tagged = rng.random(chance.shape, dtype=np.float32) < chance
        indices = as_lists(np.tile(np.arange(len(names)), (len(article), 1)), tagged, 1)
        drawn = pa.ListArray.from_arrays(indices.offsets, pa.array(names).take(indices.values))
        return drawn, pa.StructArray.from_arrays([pa.array(chances) for chances in chance.T], names)


def draw_articles(rng: np.random.Generator, category: Ints, categories: int) -> Articles:
    """Draw tags by category and words by tag, and compute the posterior probability of each tag.

    The number of a tag's words has a Poisson distribution, whose mean is larger if the article has the tag. Given
    category and words, the odds of a tag are prior odds · (with / without)^count · exp(without − with).

    Args:
        rng: Random generator.
        category: Category of each article, [I].
        categories: Number of categories.
    """
    names = list(VOCABULARY)
    prior = np.full((categories, len(names)), 0.08)
    for tag in range(len(names)):
        prior[rng.choice(categories, 2, replace=False), tag] = (0.6, 0.3)
    prior = prior[category]
    tagged = rng.random(prior.shape) < prior
    counts = rng.poisson(np.where(tagged, WORDS_WITH, WORDS_WITHOUT))
    odds = prior / (1 - prior) * (WORDS_WITH / WORDS_WITHOUT) ** counts * np.exp(WORDS_WITHOUT - WORDS_WITH)
    chance: Floats = (odds / (1 + odds)).astype(np.float32)
    titles, summaries = [], []
    words = [text.split() for text in VOCABULARY.values()]
    for count in counts:
        text = [word for tag, times in enumerate(count) for word in rng.choice(words[tag], times)]
        text = list(rng.permutation([*text, *rng.choice(FILLERS, 6)]))
        titles.append(" ".join(text[:TITLE_WORDS]))
        summaries.append(" ".join(text[TITLE_WORDS:]))
    return Articles(title=pa.array(titles), summary=pa.array(summaries), chance=chance)
