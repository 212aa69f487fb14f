"""Random permutation as a function: the row at any position, without an array of all rows."""

from math import isqrt
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROUNDS, SMALL_ROUNDS, SMALL = 6, 24, 1 << 16
"""Rounds of the network, and rounds for at most ``SMALL`` rows, which need more until all orders are as likely."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)

Numbers = NDArray[np.uint64]


class Permutation:
    """A permutation of the numbers from 0 to ``size`` − 1 that depends on a few numbers only.

    A Feistel network over pairs of digits (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002): a
    number x is ``left × b + right`` with ``left`` below a and ``right`` below b. Rounds add a keyed hash of one digit
    to the other, modulo a or b, which can be undone, so the network is a bijection of a × b numbers. A result that is
    not below ``size`` goes through the network again until it is (cycle walking). As a × b exceeds ``size`` by less
    than b, few do. Up to ``SMALL`` rows are computed once.

    It is arithmetic of unsigned integers only: equal on all machines and processes.

    Args:
        size: Number of rows; at most 2^62.
        keys: Numbers that determine the order, such as seed and epoch; at least 0.

    Example:
        >>> Permutation(5, 0, 1)(np.arange(5)).tolist()
        [0, 4, 2, 3, 1]
    """

    def __init__(self, size: int, *keys: int) -> None:
        self.size = size
        right = max(isqrt(max(size - 1, 0)) + 1, 1)
        self.digits = -(-size // right), right
        # With their number in front: SeedSequence reads missing numbers as zeros.
        rounds = ROUNDS if size > SMALL else SMALL_ROUNDS
        self.keys = np.random.SeedSequence([len(keys), *keys]).generate_state(rounds, np.uint64)
        self._few = self._compute(np.arange(size)) if size <= SMALL else None

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, positions: slice) -> Tensor:
        """Rows at a range of positions, [B] int64."""
        return torch.from_numpy(self(np.arange(*positions.indices(self.size))))

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows at positions, each from 0 to ``size`` − 1.

        Args:
            positions: [B] int64.

        Returns:
            [B] int64.
        """
        return self._compute(positions) if self._few is None else self._few[positions]

    def _compute(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = self._pass(positions.astype(np.uint64))
        while len(outside := np.flatnonzero(rows >= self.size)):
            rows[outside] = self._pass(rows[outside])
        return cast("NDArray[np.int64]", rows.view(np.int64))

    def _pass(self, numbers: Numbers) -> Numbers:
        changed, other = (np.uint64(digit) for digit in self.digits)
        values, given = np.divmod(numbers, other)
        for key in self.keys:
            mixed = given * _MIX
            mixed += key
            mixed ^= mixed >> _HALF
            mixed *= _MIX
            mixed >>= _HALF
            mixed *= changed  # the upper half of a product with 32 random bits is evenly distributed below `changed`
            mixed >>= _HALF
            mixed += values
            np.subtract(mixed, changed, out=mixed, where=mixed >= changed)
            values, given, changed, other = given, mixed, other, changed
        values *= np.uint64(self.digits[1])  # an even number of rounds: the digits are in their places again
        values += given
        return values
