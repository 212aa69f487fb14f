"""Latent users and items, and their observable side information."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

SEGMENTS, CITIES, DEVICES, FORMATS = 8, 24, 3, 4
"""Numbers of user segments, cities, devices and item formats."""
FACTORS = 2
"""Number of latent factors of users and items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Users of a log; arrays over U users.

    Args:
        segment: Segment of the user, below :data:`SEGMENTS`.
        age: Years.
        age_known: False if the log has no age of the user.
        city: City, below :data:`CITIES`.
        device: Most frequent device of the user, below :data:`DEVICES`.
        activity: Standardised tendency to act.
        taste: Standardised factors [U, FACTORS], mostly a function of segment, age and city.
        share: Share of all requests; a power law that sums to 1.
    """

    segment: Ints
    age: Floats
    age_known: npt.NDArray[np.bool_]
    city: Ints
    device: Ints
    activity: Floats
    taste: Floats
    share: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Items of a log; arrays over I items.

    Args:
        category: Category of the item.
        owner: Advertiser, brand, publisher or author; has a single category.
        group: Campaign, collection or section; has a single owner.
        format: Format in which the item is shown, below :data:`FORMATS`.
        price: Positive price, or length of items without a price.
        price_level: Standardised logarithm of the price.
        quality: Standardised attractiveness to all users.
        trait: Standardised factors [I, FACTORS], mostly a function of category, owner, format and price.
        share: Popularity; a power law that sums to 1.
    """

    category: Ints
    owner: Ints
    group: Ints
    format: Ints
    price: Floats
    price_level: Floats
    quality: Floats
    trait: Floats
    share: npt.NDArray[np.float64]


def standardise(values: npt.NDArray[np.floating]) -> Floats:
    """Scale values to zero mean and unit deviation along the first axis.

    Example:
        >>> standardise(np.array([1.0, 3.0])).tolist()
        [-1.0, 1.0]
    """
    centred = values - values.mean(axis=0)
    scaled: Floats = (centred / np.maximum(centred.std(axis=0), 1e-12)).astype(np.float32)
    return scaled


def power_law(rng: np.random.Generator, count: int, exponent: float) -> npt.NDArray[np.float64]:
    """Draw shares in random order, where the r-th largest is proportional to (r + 4)^-exponent.

    Args:
        rng: Random generator.
        count: Number of shares.
        exponent: Exponent of the power law.

    Example:
        >>> shares = power_law(np.random.default_rng(0), 100, 1.0)
        >>> round(float(shares.sum()), 6), bool(shares.max() > 10 * shares.min())
        (1.0, True)
    """
    weight = (np.arange(count) + 5.0) ** -exponent
    share: npt.NDArray[np.float64] = rng.permutation(weight / weight.sum())
    return share


def draw_users(rng: np.random.Generator, count: int, zipf: float = 0.7) -> Users:
    """Draw users whose latent taste is mostly determined by segment, age and city.

    Args:
        rng: Random generator.
        count: Number of users.
        zipf: Exponent of the users' shares.
    """
    segment = rng.choice(SEGMENTS, count, p=rng.dirichlet(np.full(SEGMENTS, 8.0)))
    middle = rng.permutation(np.linspace(22, 62, SEGMENTS))
    age = np.clip(rng.normal(middle[segment], 8.0), 16, 85).astype(np.float32)
    city = rng.choice(CITIES, count, p=power_law(rng, CITIES, 0.8))
    leaning = np.stack([1.2 - age / 60, age / 60, np.full(count, 0.25)], axis=1)
    device = np.argmax(leaning + 0.35 * rng.gumbel(size=(count, DEVICES)), axis=1)
    angle = age[:, None] / 15.0 + rng.uniform(0, 2 * np.pi, FACTORS)
    taste = (
        0.75 * rng.normal(size=(SEGMENTS, FACTORS))[segment]
        + 0.8 * np.sin(angle)
        + 0.2 * rng.normal(size=(CITIES, FACTORS))[city]
        + 0.12 * rng.normal(size=(count, FACTORS))
    )
    return Users(
        segment=segment,
        age=np.round(age),
        age_known=rng.random(count) > 0.04,
        city=city,
        device=device,
        activity=rng.normal(size=count).astype(np.float32),
        taste=standardise(taste),
        share=power_law(rng, count, zipf),
    )


def draw_items(rng: np.random.Generator, count: int, categories: int, zipf: float = 0.9) -> Items:
    """Draw items whose latent traits are mostly determined by category, owner, format and price.

    Args:
        rng: Random generator.
        count: Number of items.
        categories: Number of categories.
        zipf: Exponent of the items' popularity.
    """
    owners, groups = max(categories, count // 15), max(categories, count // 5)
    owner_category = np.concatenate([np.arange(categories), rng.integers(0, categories, owners - categories)])
    group_owner = rng.integers(0, owners, groups)
    group = rng.integers(0, groups, count)
    owner = group_owner[group]
    category = owner_category[owner]
    kind = rng.integers(0, FORMATS, count)
    amount = rng.normal(size=categories)[category] + 0.7 * rng.normal(size=count)
    level = standardise(amount)
    angle = 1.5 * level[:, None] + rng.uniform(0, 2 * np.pi, FACTORS)
    trait = (
        0.8 * rng.normal(size=(categories, FACTORS))[category]
        + 0.2 * rng.normal(size=(owners, FACTORS))[owner]
        + 0.6 * rng.normal(size=(FORMATS, FACTORS))[kind]
        + 0.45 * np.sin(angle)
        + 0.12 * rng.normal(size=(count, FACTORS))
    )
    return Items(
        category=category,
        owner=owner,
        group=group,
        format=kind,
        price=np.round(np.exp(3.2 + 0.8 * level), 2).astype(np.float32),
        price_level=level,
        quality=rng.normal(size=count).astype(np.float32),
        trait=standardise(trait),
        share=power_law(rng, count, zipf),
    )
