"""Electromagnetic showers by parametrisation: Grindhammer & Peters 2000, hep-ex/0001020 (GFLASH), appendix A.

N showers, L layers. E is the energy in GeV, y = E/E_c, depth t in radiation lengths, τ = t/T, radii in Molière radii.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.detector.materials import Medium

Array = NDArray[np.float64]


class Profile(NamedTuple):
    """Where showers leave their energy, each field [N, L]: in a layer, the radial density is
    core · K(core_radius) + (1 − core) · K(tail_radius), K(R) = 2 r R² / (r² + R²)², half of it within R.
    """

    energy: Array  # GeV
    core: Array  # share of the energy
    core_radius: Array  # cm
    tail_radius: Array  # cm
    spots: Array  # in how many equal parts the energy comes; they are what fluctuates between the cells


def mean_shape(medium: Medium, energy: Array) -> tuple[Array, Array]:
    """T, the depth of the maximum, and α: exp of the means of their logarithms over showers (A.1.2, A.2.2)."""
    log_y = np.log(1000 * energy / medium.critical)
    maximum = log_y - 0.812 - 0.55 * medium.frequency - 0.69 * (1 - medium.e_hat)
    alpha = 0.81 + (0.458 + 2.26 / medium.z) * log_y - 0.476 * medium.frequency
    return maximum, alpha


def spread(medium: Medium, energy: Array) -> tuple[Array, Array, Array]:
    """σ(ln T), σ(ln α) and their correlation (A.1.2, A.2.2)."""
    log_y = np.log(1000 * energy / medium.critical)
    if medium.sampling:
        return 1 / (-2.5 + 1.25 * log_y), 1 / (-0.82 + 0.79 * log_y), 0.784 - 0.023 * log_y
    return 1 / (-1.4 + 1.26 * log_y), 1 / (-0.58 + 0.86 * log_y), 0.705 - 0.023 * log_y


def radial(medium: Medium, energy: Array, tau: Array) -> tuple[Array, Array, Array]:
    """Share of the core and the radii of core and tail, at τ [N, L] for `energy` [N] (A.1.3, A.2.3)."""
    z, log_e, missing = medium.z, np.log(energy)[:, None], 1 - medium.e_hat
    core_radius = 0.0251 + 0.00319 * log_e + (0.1162 - 0.000381 * z) * tau
    growth = (0.3585 + 0.0421 * log_e) * (tau - 0.645)
    tail_radius = (0.659 - 0.00309 * z) * (np.exp(-2.59 * (tau - 0.645)) + np.exp(growth))
    u = (0.401 + 0.00187 * z - tau) / (1.313 - 0.0686 * log_e)
    core = (2.632 - 0.00094 * z) * np.exp(u - np.exp(u))
    fading = medium.frequency * np.exp(-tau)
    core_radius += -0.0203 * missing + 0.0397 * fading
    tail_radius += -0.14 * missing - 0.495 * fading
    core += missing * (0.348 - 0.642 * medium.frequency * np.exp(-((tau - 1) ** 2)))
    return core.clip(0, 1), core_radius.clip(0.005), tail_radius.clip(0.05)


def spot_count(medium: Medium, energy: Array, resolution: float) -> Array:
    """In how many spots a shower deposits its energy (A.1.4, A.2.4); `resolution` is that of the sampling, √GeV."""
    sampled = medium.sampling and resolution > 0
    scale, power = (10.3 / resolution, 0.959) if sampled else (93 * math.log(medium.z), 0.876)
    return scale * energy**power


def electromagnetic(
    medium: Medium, edges: Array, energy: Array, photon: NDArray[np.bool_], resolution: float, rng: np.random.Generator
) -> Profile:
    """Showers of electrons, and of photons where `photon` [N]: these start at their conversion, Exp(9/7 X₀).

    `edges` [L + 1]: where layers begin and end, in cm from where the particle meets matter.
    """
    from scipy.special import gammainc

    maximum, alpha = mean_shape(medium, energy)
    sigma_t, sigma_a, rho = spread(medium, energy)
    one, two = rng.standard_normal((2, len(energy)))
    mean_alpha = alpha.clip(1.1)
    together, apart = np.sqrt((1 + rho) / 2) * one, np.sqrt((1 - rho) / 2) * two
    maximum = np.exp(np.log(maximum.clip(0.5)) + sigma_t.clip(0, 0.5) * (together + apart))
    alpha = np.exp(np.log(mean_alpha) + sigma_a.clip(0, 0.5) * (together - apart)).clip(1.05)
    start = np.where(photon, rng.exponential(9 / 7, len(energy)), 0.0)
    depth = (edges / medium.x0 - start[:, None]).clip(0)  # [N, L + 1]

    def shares(alpha: Array, maximum: Array, power: float = 0.0) -> Array:
        return np.diff(gammainc(alpha[:, None] + power, ((alpha - 1) / maximum)[:, None] * depth))

    share = shares(alpha, maximum)
    centre = (maximum * alpha / (alpha - 1))[:, None]  # ⟨t⟩ of this shower
    here = centre * np.divide(shares(alpha, maximum, 1.0), share, out=np.zeros_like(share), where=share > 1e-12)
    here = here.clip(depth[:, :-1], depth[:, 1:])  # ⟨t⟩ of the energy in the layer
    core, core_radius, tail_radius = radial(medium, energy, here / centre * (mean_alpha / (mean_alpha - 1))[:, None])
    late, wide = (0.813 + 0.0019 * medium.z, 0.844 + 0.0026 * medium.z)
    if not medium.sampling:
        late, wide = (0.698 + 0.00212 * medium.z, 0.639 + 0.00334 * medium.z)
    return Profile(
        energy=energy[:, None] * share,
        core=core,
        core_radius=core_radius * medium.moliere,
        tail_radius=tail_radius * medium.moliere,
        spots=spot_count(medium, energy, resolution)[:, None] * shares((wide * alpha).clip(1.05), late * maximum),
    )
