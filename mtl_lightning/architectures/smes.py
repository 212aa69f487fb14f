"""SMES: sparse experts, some of which all tasks choose together, with one balance."""

from typing import Unpack

import torch
from torch import Tensor, nn

from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.distributed import reduce_sum
from mtl_lightning.interfaces import (
    Encoded,
    Encoder,
    MtlError,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Schema,
    Sizes,
)
from mtl_lightning.layers.mlp import Experts, LayerOptions, mixtures


class SMES(DenseArchitecture):
    """Sparse experts per row: k_s that all tasks choose together, and k_p more of each task's own choice.

    With p_t = softmax(W_t z) over E experts:

    1. S, the k_s experts with the largest Σ_t p_t, is shared by all tasks.
    2. R_t consists of the k_p experts with the largest p_t outside S.
    3. h_t = Σ_e g_te f_e(z), where g_t is p_t on S ∪ R_t, divided by its sum there, and 0 elsewhere.

    So at most k_s + T k_p experts serve a row, instead of up to T (k_s + k_p) where each task chooses alone. One
    balance over all gates is added to the objective: ``balance`` · E Σ_e a_e P_e. Here a_e is the share of expert e
    among all choices of all tasks in the global batch, and P_e the mean of p_te over tasks and rows. The balance is
    smallest where all experts are used alike.

    Source: Zhang et al., "SMES: Towards Scalable Multi-Task Recommendation via Expert Sparsity", 2026
    (arXiv:2602.09386): experts selected jointly, then per task, and one balance over all gates. The equations above
    were written from the paper's summary, not its formulas. The balance has the form of Fedus et al., "Switch
    Transformers", JMLR 2022.

    All experts are computed for all rows, as batched products, and those not chosen are multiplied by 0. The limit on
    experts per row therefore saves no time here.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        experts: Number E of experts.
        joint: Number k_s of experts that all tasks choose together.
        own: Number k_p of further experts of a task.
        hidden: Layer sizes of each expert; H is the last.
        balance: Factor of the balance.
        options: Options of :class:`~mtl_lightning.architectures.dense.DenseArchitecture`.

    Shapes: z [B, D] → h_t [B, H]; gates, kept when asked, [B, E] per task.

    Raises:
        MtlError: If a task chooses no expert, or more than there are.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> smes = SMES(schema, encoder, experts=6, joint=2, own=1, hidden=[8])
        >>> smes.keep_gates = True
        >>> smes(encoder(batch))["a"].shape, (smes.gates["a"] > 0).sum(1).tolist()
        (torch.Size([4, 8]), [3, 3, 3, 3])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        experts: PositiveInt = 8,
        joint: NonNegativeInt = 2,
        own: NonNegativeInt = 1,
        hidden: Sizes = (128, 64),
        balance: NonNegativeFloat = 0.01,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        if not 0 < joint + own <= experts:
            raise MtlError(
                f"architecture.joint: {joint} joint and {own} own experts of {experts}",
                "choose at least one, and at most as many as there are",
            )
        self.joint, self.own, self.balance = joint, own, balance
        self.experts = Experts(experts, encoder.width, hidden, **self.layer_options)
        self.router = nn.Linear(encoder.width, len(self.tasks) * experts)
        self.widths = dict.fromkeys(self.tasks, self.experts.width)

    def choose(self, shares: Tensor) -> Tensor:
        """Experts of each task, [B, T, E] bool.

        Args:
            shares: p_t of each task, [B, T, E], detached.
        """
        chosen = torch.zeros_like(shares)
        if self.joint:
            places = shares.sum(1).topk(self.joint, dim=1).indices
            chosen = chosen.scatter(2, places.unsqueeze(1).expand(-1, shares.shape[1], -1), 1.0)
        if self.own:
            rest = torch.where(chosen > 0, -1.0, shares)
            chosen = chosen.scatter(2, rest.topk(self.own, dim=2).indices, 1.0)
        return chosen > 0

    def uneven_use(self, shares: Tensor, chosen: Tensor) -> Tensor:
        """E Σ_e a_e P_e of each row, [B]; its mean over the global batch is the balance.

        Args:
            shares: p_t of each task, [B, T, E].
            chosen: Experts of each task, [B, T, E] bool.
        """
        counts = reduce_sum(chosen.sum((0, 1)).to(shares.dtype))
        use: Tensor = counts / counts.sum().clamp(min=1)
        return shares.shape[2] * (shares.mean(1) * use).sum(1)

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        shares = self.router(encoded.z).unflatten(1, (len(self.tasks), -1)).softmax(2)
        chosen = self.choose(shares.detach())
        weights = torch.where(chosen, shares, 0.0)
        weights = weights / weights.sum(2, keepdim=True).clamp(min=1e-12)
        if self.training and self.balance > 0:
            self.penalty = self.balance * self.uneven_use(shares, chosen)
        experts = self.experts(encoded.z)
        self.record(experts, weights, gates=dict(zip(self.tasks, weights.unbind(1), strict=True)))
        return dict(zip(self.tasks, mixtures(weights, experts), strict=True))
