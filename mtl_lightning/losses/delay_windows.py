"""Cross-entropies of the windows in which an event can come."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.interfaces import Output, Target
from mtl_lightning.losses.delayed_feedback import LateLoss
from mtl_lightning.losses.rows import entropies, known_rows


class DelayWindowsLoss(LateLoss):
    """Cross-entropy of each window with its part of the label, over rows that are older than the window's end.

    With windows (w_(k−1), w_k], w_0 = 0, delay d, elapsed time e, label y and log-odds a_k, a row costs
    Σ_k 1[e ≥ w_k] H(y 1[w_(k−1) < d ≤ w_k], σ(a_k)). The first window also has a delay of 0, and an event of
    unknown delay.

    Source: Badanidiyuru et al., "Handling Many Conversions Per Click in Modeling Delayed Feedback", AdKDD 2021.

    Args:
        task: A task with the head ``delay_windows``.

    Shapes: logit [B, K], ``extra``: windows [K], delay and elapsed [B, 1]; label [B, 1] → scalar.

    Raises:
        MtlError: If the rows have no delay or no elapsed time.

    Example:
        >>> from mtl_lightning.interfaces import Task
        >>> loss, one = DelayWindowsLoss(Task(name="sale", kind="binary", label="sale")), torch.ones(1, 1)
        >>> extra = {"windows": torch.tensor([1.0, 3.0]), "delay": one / 2, "elapsed": 2 * one}
        >>> target = Target(label=one, mask=torch.tensor([True]))
        >>> round(loss(Output(torch.zeros(1, 2), extra=extra), target, {}).item(), 4)  # the first window only
        0.6931
    """

    heads = frozenset({"delay_windows"})

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean over known labels of the sum over windows."""
        delay, elapsed = self.times(output)
        ends = output.extra["windows"].to(elapsed.dtype)
        window = torch.bucketize(delay.nan_to_num(), ends)[:, 0]
        label = functional.one_hot(window, len(ends) + 1)[:, :-1] * target.label
        values = (elapsed >= ends) * entropies(known_rows(output.logit, target), label)
        return target.mean(values.sum(1))
