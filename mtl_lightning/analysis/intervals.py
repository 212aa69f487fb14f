"""Confidence intervals of means."""

import math

import numpy as np


def student_quantile(level: float, freedom: float) -> float:
    """Quantile of Student's distribution: the t with P(|T| < t) = level.

    Computed with the substitution t = √ν tan θ, under which the density is proportional to cos^(ν-1) θ.

    Args:
        level: Confidence.
        freedom: Degrees of freedom ν.

    Example:
        >>> round(student_quantile(0.95, 2), 2), round(student_quantile(0.95, math.inf), 2)
        (4.3, 1.96)
    """
    freedom = min(freedom, 2000.0)
    angle = np.linspace(0.0, math.pi / 2, 5_001)
    density = np.cos(angle) ** (freedom - 1)
    below = np.r_[0.0, np.cumsum((density[1:] + density[:-1]) / 2)]
    return math.sqrt(freedom) * math.tan(float(np.interp(level * below[-1], below, angle)))


def half_width(count: int, mean: float, squares: float, products: float, level: float = 0.95) -> float:
    """Half the width of a confidence interval for the mean of successive, possibly correlated samples.

    With a correlation ρ between neighbours, n samples count as ``n (1 − ρ) / (1 + ρ)`` independent ones, as in a
    first-order autoregression; a negative ρ counts as zero. The quantile is Student's for that number.

    Args:
        count: Number of samples n.
        mean: Mean of the samples.
        squares: Sum of the squares.
        products: Sum of the n − 1 products of neighbours.
        level: Confidence.

    Returns:
        Half the width; infinite if the samples count as fewer than two.

    Example:
        >>> values = [0.1, -0.1, 0.1, 0.3]
        >>> round(half_width(4, 0.1, sum(x * x for x in values), 0.01), 3)
        0.26
    """
    if count < 2:
        return math.inf
    variance = max(squares - count * mean**2, 0.0) / (count - 1)
    if variance <= 1e-12 * mean**2:  # rounding alone
        return 0.0
    correlation = min(max((products / (count - 1) - mean**2) / variance, 0.0), 1.0)
    independent = count * (1 - correlation) / (1 + correlation)
    if independent < 2:
        return math.inf
    return student_quantile(level, independent - 1) * math.sqrt(variance / independent)
