"""Steps of a history as vectors: what an event carries, added up."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_lightning.batch import Steps
from mtl_lightning.schema import Field

OCTAVES = 63
"""Powers of two, from 1 on, that divide gaps into buckets."""


def buckets(values: Tensor, edges: Tensor) -> Tensor:
    """Number of edges that are at most each value.

    Args:
        values: Any shape.
        edges: Ascending, [E].

    Example:
        >>> buckets(torch.tensor([0.5, 1.0, 7.0]), torch.tensor([1.0, 2.0, 4.0])).tolist()
        [0, 1, 3]
    """
    if torch.compiler.is_exporting():  # the search has no equivalent in ONNX
        return (values.unsqueeze(-1) >= edges).sum(-1)
    return torch.bucketize(values, edges, right=True)


def relative_weights(field: Field, steps: Steps, known: Tensor) -> Tensor | None:
    """Weights of steps divided by the mean weight of the row, [B, L]; None if the field has no weights.

    The mean of vectors multiplied by them is the weighted mean. A row whose weights are all 0 has zeros.

    Args:
        field: The field of the steps.
        steps: The steps.
        known: Steps that count, [B, L].

    Example:
        >>> weight = Field(name="weight", kind="numeric")
        >>> field = Field(name="tags", kind="history", length=3, steps=(weight,), weights="weight")
        >>> steps = Steps(torch.zeros(1, 3, 0), torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([2]))
        >>> relative_weights(field, steps, steps.known).tolist()
        [[0.5, 1.5, 0.0]]
    """
    if not field.weights:
        return None
    place = [number.name for number in field.steps_of_kind("numeric")].index(field.weights)
    weights = torch.where(known, steps.numbers[:, :, place], 0.0)
    total = weights.sum(1, keepdim=True)
    return torch.where(total > 0, weights * known.sum(1, keepdim=True) / total.clamp(min=1e-30), 0.0)


class StepBuckets(nn.Module):
    """Numbers and gaps of steps as learned vectors, one for each bucket, added up.

    A number's buckets lie between its quantiles in training; a gap's double in width: below 1, 1 to 2, 2 to 4, and so
    on, in the unit of the gap.

    Args:
        field: A history.
        width: Width of a vector.
        init_scale: Standard deviation of the initial vectors.

    Shapes: steps with L steps → [B, L, width].

    Example:
        >>> field = Field(name="clicks", kind="history", length=2, gap=True)
        >>> steps = Steps(torch.zeros(1, 2, 0), torch.zeros(1, 2, 0), torch.tensor([2]), torch.tensor([[5.0, 4.0]]))
        >>> vectors = StepBuckets(field, 3, 0.1)(steps)
        >>> vectors.shape, bool((vectors[0, 0] == vectors[0, 1]).all())
        (torch.Size([1, 2, 3]), True)
    """

    def __init__(self, field: Field, width: int, init_scale: float) -> None:
        super().__init__()
        numbers = field.steps_of_kind("numeric")
        self.places = [i for i, number in enumerate(numbers) if number.name != field.weights]
        edges = [torch.tensor(numbers[i].edges or (0.0,)) for i in self.places]
        if field.gap:
            edges.append(2.0 ** torch.arange(OCTAVES))
        self.width = width
        self.parts = len(edges)
        for i, points in enumerate(edges):
            self.register_buffer(f"edges_{i}", points, persistent=False)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(len(points) + 1, width) * init_scale) for points in edges
        )

    def forward(self, steps: Steps) -> Tensor:
        """The sum over numbers and the gap; zero where a history has neither."""
        values = [steps.numbers[:, :, i] for i in self.places]
        values += [] if steps.gap is None else [steps.gap]
        total = steps.numbers.new_zeros(*steps.ids.shape[:2], self.width)
        for i in range(self.parts):
            total = total + functional.embedding(buckets(values[i], self.get_buffer(f"edges_{i}")), self.weights[i])
        return total
