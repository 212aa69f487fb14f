"""SIM: attention over the events that a search by category or by inner product finds."""

from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.batch import Batch
from mtl_lightning.encoders.search import SearchEncoder
from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import FieldName
from mtl_lightning.schema import PADDING, Field, Schema


class SIMEncoder(SearchEncoder):
    """Search-based interest model: a search unit finds ``top`` events, an attention unit reads them.

    - ``hard``: the latest events whose id has the category of the row. A comparison of ids, without embeddings.
    - ``soft``: the events with the largest r_j = (W_k e_j) · (W_q t), where e_j and t are the sums of the embeddings of
      the vocabularies that event and row share.

    The attention (:class:`~mtl_lightning.encoders.search.TargetAttention`) then reads all that the chosen events carry.

    Source: Pi et al., "Search-based User Interest Modeling with Lifelong Sequential Behavior Data for Click-Through
    Rate Prediction", CIKM 2020, equations 1 to 3. Differences:

    - The paper trains W_k and W_q of the soft search by an auxiliary task. Here they are the projections of the
      attention, whose gradients train them, as in Chang et al., "TWIN", KDD 2023. They start as the inner product of
      the embeddings.
    - The time of an event is part of its vector (``gap`` of a history), added instead of appended.
    - The search runs over the events in the batch. The paper's index of users' events by category is a service of its
      own.

    Args:
        schema: Fitted schema.
        copies: Number of table sets; each searches with its own tables.
        search: ``soft`` or ``hard``.
        category: Categorical feature that ``hard`` compares; the histories' events carry its ids. Of a history that
            doesn't carry them the latest events are chosen.
        options: Options of :class:`~mtl_lightning.encoders.search.SearchEncoder`.

    Shapes: z as of :class:`~mtl_lightning.encoders.embedding.EmbeddingEncoder`.

    Raises:
        MtlError: If ``hard`` has no category, or no history carries its ids.

    Example:
        >>> from mtl_lightning.testing import example_batch, example_schema
        >>> schema = example_schema(kinds=["categorical", "history"])
        >>> encoder = SIMEncoder(schema, 1, width=4, search="hard", category="item", top=2)
        >>> encoder(example_batch(schema, rows=3)).z.shape
        torch.Size([3, 16])
    """

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        search: Literal["soft", "hard"] = "soft",
        category: FieldName | None = None,
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, **options)
        self.hard = search == "hard"
        self.category = category
        self.category_columns: dict[str, int] = {}
        if not self.hard:
            return
        if category is None:
            raise MtlError("encoder.category: search: hard compares a category", "name a categorical feature")
        categories = [field for field in self.categorical if field.name == category]
        for field in self.histories:
            for i, step in enumerate(field.steps_of_kind("categorical")):
                if categories and step.table == categories[0].table:
                    self.category_columns.setdefault(field.name, i)
        if not self.category_columns:
            raise MtlError(
                f"encoder.category: no history carries ids of {category!r}",
                f"add its column to `with` of a history, and {category!r} as a categorical feature",
            )

    @override
    def search(self, field: Field, ids: Tensor, known: Tensor, batch: Batch, copy: int) -> tuple[Tensor, Tensor]:
        if self.hard:
            if field.name not in self.category_columns:
                return torch.zeros_like(ids[:, :, 0]), known
            assert self.category is not None
            wanted = batch.id(self.category).unsqueeze(1)
            equal = (ids[:, :, self.category_columns[field.name]] == wanted) & (wanted != PADDING)
            return torch.zeros_like(ids[:, :, 0]), equal
        vectors, target = self.compared_events(field, ids, copy), self.compared_target(field, batch, copy)
        direction = self.attention_of(field, copy).directions(target).sum(1)
        return torch.bmm(vectors, direction.unsqueeze(2)).squeeze(2), known
