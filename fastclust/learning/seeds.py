"""Random numbers from scikit-learn's ``random_state``."""

from __future__ import annotations

from typing import Any

import torch

from fastclust.errors import InputError

__all__ = ["generator_of", "seed_of"]


def seed_of(random_state: Any) -> int:
    """Return a seed: an int as it is, None a fresh one, a RandomState its next number. Raises InputError."""
    from sklearn.utils import check_random_state

    if isinstance(random_state, int) and not isinstance(random_state, bool) and 0 <= random_state < 2**32:
        return random_state
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError as error:
        raise InputError("random_state", repr(random_state), "None, 0..2**32 - 1 or a RandomState") from error


def generator_of(random_state: Any) -> torch.Generator:
    """Return a generator on the CPU, seeded by ``random_state``."""
    return torch.Generator().manual_seed(seed_of(random_state))
