"""From what a detector measures to what a network takes, and back. Nothing is clipped, and 0 stays 0.

N events, L layers, H x W cells.
"""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import Field, model_validator

from translate.config.spec import Spec
from translate.errors import DataError

Positive = Annotated[float, Field(gt=0)]


class Normalisation(Spec):
    """`scale` becomes 1; one number, or one a layer. In units of the data: MeV, ADC counts.

    linear: x / s. log: ln(1 + x/t) / ln(1 + s/t), for what is never negative. symlog: the same of |x|, with the sign of
    x. With `by_energy` cells are first divided by the incident energy: they and `scale` and `threshold` are shares.

    Computed in double precision: integers up to 500,000 come back to the bit, floats to one part in 10⁵ or better.
    """

    kind: Literal["linear", "log", "symlog"] = "linear"
    scale: Positive | tuple[Positive, ...] = 1.0
    threshold: float = Field(default=1.0, gt=0)  # t: where the logarithm begins
    by_energy: bool = False

    @model_validator(mode="after")
    def _threshold_means_something(self) -> "Normalisation":
        if self.kind == "linear" and "threshold" in self.model_fields_set and self.threshold != 1:
            raise ValueError("threshold: a linear normalisation has none; choose kind: log or symlog")
        return self

    def forward(self, cells: NDArray[Any], energy: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Cells [N, L, H, W] of any type, incident energies [N] in GeV → float32.

        Raises DataError for what this normalisation cannot hold: negative cells, unknown energies, other layers.
        """
        x = cells.astype(np.float64) / self._unit(energy, len(cells))
        if self.kind != "linear":
            if self.kind == "log" and (x < 0).any():
                raise DataError("data.normalisation: log cannot hold negative cells, as there are; choose symlog")
            x = np.sign(x) * np.log1p(np.abs(x) / self.threshold)
        return (x / self._one(cells.shape[1])).astype(np.float32)

    def inverse(
        self, images: NDArray[Any], energy: NDArray[Any] | None = None, dtype: DTypeLike = np.float32
    ) -> NDArray[Any]:
        """Undoes `forward`; of integer types the nearest. Raises OverflowError for what `dtype` cannot hold."""
        y = images.astype(np.float64) * self._one(images.shape[1])
        if self.kind != "linear":
            y = np.sign(y) * np.expm1(np.abs(y)) * self.threshold
        y *= self._unit(energy, len(images))
        if np.dtype(dtype).kind in "iu":
            y, limits = np.rint(y), np.iinfo(np.dtype(dtype))
            if y.size and not limits.min <= y.min() <= y.max() <= limits.max:
                raise OverflowError(f"values from {y.min():g} to {y.max():g} do not fit into {np.dtype(dtype)}")
        return y.astype(dtype)

    def _one(self, layers: int) -> NDArray[np.float64]:
        """What becomes 1, by layer."""
        if isinstance(self.scale, tuple) and len(self.scale) != layers:
            raise DataError(f"data.normalisation.scale: is of {len(self.scale)} layers, but images have {layers}")
        scale = np.atleast_1d(np.array(self.scale))[:, None, None]
        return scale if self.kind == "linear" else np.log1p(scale / self.threshold)

    def _unit(self, energy: NDArray[Any] | None, count: int) -> NDArray[np.float64] | float:
        if not self.by_energy:
            return 1.0
        if energy is None or not (np.isfinite(energy).all() and (energy > 0).all()):
            raise DataError(
                "data.normalisation.by_energy: the incident energy is not known of all events; set it to false"
            )
        return 1000 * energy.astype(np.float64).reshape(count, 1, 1, 1)  # GeV → MeV
