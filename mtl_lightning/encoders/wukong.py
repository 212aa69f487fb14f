"""Wukong: stacked factorisation machines over tokens of one width."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_lightning.bounds import NonNegativeInt, PositiveInt, Sizes
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.encoders.projection import FieldProjection
from mtl_lightning.errors import MtlError
from mtl_lightning.layers import MLP
from mtl_lightning.layers.initialisation import he_uniform_
from mtl_lightning.schema import Schema


def token_mixture(tokens: int, mixtures: int) -> nn.Linear:
    """A linear map of n tokens to m, applied to [..., n], without bias; mixtures of equal tokens keep their variance.

    Args:
        tokens: Number n of tokens.
        mixtures: Number m of mixtures.

    Example:
        >>> token_mixture(3, 2)(torch.ones(4, 16, 3)).shape
        torch.Size([4, 16, 2])
    """
    linear = nn.Linear(tokens, mixtures, bias=False)
    he_uniform_(linear.weight, None, "identity")
    return linear


class FieldTokens(nn.Module):
    """Fields side by side as tokens of one width; a linear layer per field maps those that have no learned layer yet.

    Args:
        sizes: Width of each field, in their order in the input.
        width: Width d of a token.
        unmapped: Number of fields at the beginning that are tokens already.

    Shapes: [B, Σ sizes] → [B, fields, d].

    Example:
        >>> FieldTokens([4, 4, 1, 3], 4, unmapped=2)(torch.zeros(5, 12)).shape
        torch.Size([5, 4, 4])
    """

    def __init__(self, sizes: Sequence[int], width: int, *, unmapped: int) -> None:
        super().__init__()
        self.width, self.columns = width, sum(sizes[:unmapped])
        mapped = list(sizes[unmapped:])
        self.projection = FieldProjection(mapped, width) if mapped else None

    def forward(self, x: Tensor) -> Tensor:
        """The tokens."""
        if self.projection is not None:
            x = torch.cat([x[:, : self.columns], self.projection(x[:, self.columns :])], dim=1)
        tokens: Tensor = x.unflatten(1, (-1, self.width))
        return tokens


class WukongLayer(nn.Module):
    """LN(concat(FMB(X), LCB(X)) + X), with R X in place of X where the number of tokens changes.

    FMB(X) = MLP(LN(flatten(X Xᵀ Y))) gives n_F tokens, and LCB(X) = W X gives n_L tokens.

    Args:
        tokens: Number n of tokens.
        width: Width d of a token.
        fm_tokens: Number n_F of tokens from products.
        linear_tokens: Number n_L of tokens from linear mixtures.
        rank: Number k of columns of Y; 0 for X Xᵀ itself.
        hidden: Sizes of the hidden layers of the MLP.

    Shapes: X [B, n, d] → [B, n_F + n_L, d].

    Example:
        >>> WukongLayer(5, 4, fm_tokens=2, linear_tokens=1, rank=3, hidden=[8])(torch.zeros(6, 5, 4)).shape
        torch.Size([6, 3, 4])
    """

    def __init__(
        self, tokens: int, width: int, *, fm_tokens: int, linear_tokens: int, rank: int, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        count = fm_tokens + linear_tokens
        self.partners = token_mixture(tokens, rank) if rank else None
        products = tokens * (rank or tokens)
        mlp = MLP(products, hidden)
        self.products = nn.Sequential(nn.LayerNorm(products), mlp, nn.Linear(mlp.width, fm_tokens * width))
        self.mixtures = token_mixture(tokens, linear_tokens)
        self.residual = token_mixture(tokens, count) if count != tokens else None
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of the next layer."""
        columns = x.transpose(1, 2)
        # X (Xᵀ Y) never forms the n × n products.
        products = torch.bmm(x, columns if self.partners is None else self.partners(columns))
        mixtures = self.mixtures(columns).transpose(1, 2)
        tokens = torch.cat([self.products(products.flatten(1)).unflatten(1, (-1, x.shape[2])), mixtures], dim=1)
        residual = x if self.residual is None else self.residual(columns).transpose(1, 2)
        result: Tensor = self.norm(tokens + residual)
        return result


class WukongEncoder(EmbeddingEncoder):
    """Stacked factorisation machines: layer i contains products of up to 2^i fields.

    Every field is a token of ``width`` columns. A linear layer maps every vector, every ``plain`` numeric, and every
    numeric field of another width to a token. With ``projection``, tokens have its width and need no further layer. A
    layer computes LN(concat(FMB(X), LCB(X)) + X):

    - FMB(X) = MLP(LN(flatten(X Xᵀ Y))), the factorisation machine with n_F output tokens;
    - LCB(X) = W X, the linear compression to n_L tokens.

    z consists of the last layer's tokens side by side, so no field has a slice of z.

    Source: Zhang et al., "Wukong: Towards a Scaling Law for Large-Scale Recommendation", ICML 2024: the interaction
    stack with the optimised factorisation machine, whose Y of rank k is learned. Where the paper leaves freedom:

    - Y is a weight; it does not depend on the row, as in the paper's attentive variant.
    - The MLP ends with a linear layer without activation.
    - The last normalisation runs over the columns of a token, with one scale for all tokens.
    - Where the number of tokens changes, a linear map without bias brings X to the new number.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        layers: Number of layers.
        fm_tokens: Number n_F of tokens that a layer makes of products.
        linear_tokens: Number n_L of tokens that a layer makes of linear mixtures.
        rank: Rank k of the factorisation machine; 0 for all n × n products.
        fm_hidden: Hidden layer sizes of the factorisation machine's MLP.
        options: Options of :class:`EmbeddingEncoder`.

    Shapes: z [B, copies × (fm_tokens + linear_tokens) × width], or [B, hidden[-1]].

    Raises:
        MtlError: If tokens have one column, which normalisation would make constant.

    Example:
        >>> from mtl_lightning.batch import Batch
        >>> from mtl_lightning.schema import Field
        >>> fields = (Field(name="user", kind="categorical", size=9, table="user"), Field(name="price", kind="numeric"))
        >>> batch = Batch(schema=Schema(fields, ()), ids=torch.tensor([[3], [4]]), dense=torch.ones(2, 1),
        ...               labels=torch.zeros(2, 0), mask=torch.zeros(2, 0, dtype=torch.bool))
        >>> WukongEncoder(batch.schema, 1, width=4, fm_tokens=3, linear_tokens=2)(batch).z.shape
        torch.Size([2, 20])
    """

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        hidden: Sizes = (),
        layers: PositiveInt = 2,
        fm_tokens: PositiveInt = 8,
        linear_tokens: PositiveInt = 8,
        rank: NonNegativeInt = 8,
        fm_hidden: Sizes = (128,),
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, **options)
        count = fm_tokens + linear_tokens
        width = self.projection or self.embedding_width
        if width < 2:
            raise MtlError("encoder: wukong needs tokens of at least 2 columns", "set a larger width or projection")
        self.mix(count * width, hidden)
        sizes = [part.stop - part.start for part in self.field_slices.values()]
        unmapped = len(sizes)
        if self.projections is None:
            unmapped = len(self.embedded)
            numerics = schema.of_kind("numeric")
            if self.numeric and self.sizes[numerics[0].name] == width:
                unmapped += len(numerics)
        self.tokens = nn.ModuleList(FieldTokens(sizes, width, unmapped=unmapped) for _ in range(copies))
        self.layers = nn.ModuleList(
            nn.Sequential(
                *(
                    WukongLayer(
                        tokens, width, fm_tokens=fm_tokens, linear_tokens=linear_tokens, rank=rank, hidden=fm_hidden
                    )
                    for tokens in [len(sizes), *[count] * (layers - 1)]
                )
            )
            for _ in range(copies)
        )

    def interact(self, part: Tensor, copy: int) -> Tensor:
        """The tokens of the last layer side by side, [B, D / copies]."""
        x: Tensor = self.layers[copy](self.tokens[copy](part))
        return x.flatten(1)
