"""Feature arrays [N, D], and all pairs of their rows without an array of size N²."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from translate.errors import EvaluationError

Features = NDArray[Any]  # [N, D] of numbers of any type; a [N] counts as [N, 1]
Matrix = NDArray[np.float64]

BLOCK = 2**22  # values of a block of pairs: 32 MiB


def checked(*samples: Features, least: int = 2) -> list[Matrix]:
    """The samples as float64 [N, D]. Raises EvaluationError where a metric would mean nothing."""
    arrays = [np.asarray(sample, np.float64) for sample in samples]
    arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
    for array in arrays:
        if array.ndim != 2:
            raise EvaluationError(f"features are [samples, numbers], got an array of shape {list(array.shape)}")
        if len(array) < least:
            raise EvaluationError(f"{len(array)} samples are too few: this metric needs at least {least}")
        if not np.isfinite(array).all():
            raise EvaluationError(f"{(~np.isfinite(array).all(1)).sum()} of {len(array)} samples are not finite")
    if len({array.shape[1] for array in arrays}) > 1:
        raise EvaluationError(
            f"features of {' and '.join(str(array.shape[1]) for array in arrays)} numbers cannot be compared; "
            "take both from the same feature space"
        )
    return arrays


def ordered(x: Matrix) -> Matrix:
    """The rows in an order that depends on their values alone, so that a seed picks the same ones however they came."""
    rows = np.ascontiguousarray(x + 0.0)  # −0 is 0
    return x[np.argsort(rows.view(f"V{rows.itemsize * rows.shape[1]}").ravel(), kind="stable")]


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows, such that a block with all columns has about `BLOCK` values."""
    step = max(1, BLOCK // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def squared_distances(x: Matrix, y: Matrix) -> Matrix:
    """‖xᵢ − yⱼ‖² [N, M] by one matrix multiplication; what rounding cannot tell from equal rows is exactly 0."""
    centre = y.mean(0)
    x, y = x - centre, y - centre
    a, b = (np.square(rows).sum(1, keepdims=True) for rows in (x, y))
    values: Matrix = np.hstack([x, a, np.ones_like(a)]) @ np.hstack([-2 * y, np.ones_like(b), b]).T
    values[values < 1e-13 * (a + b.max())] = 0
    return values


def pair_mean(x: Matrix, y: Matrix, function: Callable[[Matrix, Matrix], Matrix], *, distinct: bool = False) -> float:
    """Mean of `function(x rows, y rows)` [n, M] over all pairs; `distinct` leaves out a row with itself (y is x)."""
    total = 0.0
    for rows in blocks(len(x), len(y)):
        values = function(x[rows], y)
        total += float(values.sum() - (np.trace(values, offset=rows.start) if distinct else 0))
    return total / (len(x) * (len(y) - distinct))
