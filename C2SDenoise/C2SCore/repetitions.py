"""Which frames tell how strong the noise is. Apart from `noise`, whose libraries would slow Slicer's start."""

from __future__ import annotations

PAIRS = 4


def repeated_pairs(count: int) -> list[tuple[int, int]]:
    """Which of `count` frames `noise.repeated_sigma` looks at."""
    return [(n, n + 1) for n in range(0, count - 1, max(1, (count - 1) // PAIRS))]
