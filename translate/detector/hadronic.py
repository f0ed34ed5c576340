"""Showers of charged pions, from 5 GeV: a track, a first interaction, then an electromagnetic and a hadronic part.

Longitudinal shapes of Bock et al. 1981, NIM 186:533: gamma distributions with a, b (in radiation lengths) and a, d (in
interaction lengths). Their fixed weight is replaced by the electromagnetic share of each shower, whose mean is
1 − (E/GeV)^(−0.18) (Groom 2007). Radii and fluctuations are round numbers of ours, not a fit to data.
"""

import numpy as np

from translate.detector.electromagnetic import Array, Profile, spot_count
from translate.detector.materials import Medium

LOWEST = 5.0  # GeV
RESPONSE = 0.7  # h/e: of the hadronic part, relative to the electromagnetic one
_STIFFNESS = 12.0  # of the Beta distribution of the electromagnetic share: σ = √(m(1 − m)/13)


def electromagnetic_share(energy: Array) -> Array:
    """Its mean."""
    return 1 - energy**-0.18


def hadronic(medium: Medium, edges: Array, energy: Array, resolution: float, rng: np.random.Generator) -> Profile:
    """Showers of pions; `edges` [L + 1] as for electrons, energies as they would be measured with electrons' scale."""
    from scipy.special import gammainc

    count, length = len(energy), medium.interaction
    start = rng.exponential(length, count)[:, None]  # [N, 1], cm
    mean = electromagnetic_share(energy)
    share = rng.beta(mean * _STIFFNESS, (1 - mean) * _STIFFNESS)[:, None]
    wider = np.exp(0.3 * rng.standard_normal((2, count, 1)))

    track = medium.ionisation / 1000 * np.diff(np.minimum(edges, start))  # [N, L], GeV
    left = (energy[:, None] - medium.ionisation / 1000 * start).clip(0)
    depth = (edges - start).clip(0)  # [N, L + 1], cm
    log_e = np.log(energy)[:, None]
    a, b, d = 0.6165 + 0.3183 * log_e, 0.2198, 0.9099 - 0.0237 * log_e
    core = track + left * share * np.diff(gammainc(a, b * depth / medium.x0))
    tail = left * (1 - share) * RESPONSE * np.diff(gammainc(a, d * depth / length))

    middle, total = (depth[:, 1:] + depth[:, :-1]) / 2, core + tail
    spots = spot_count(medium, energy, resolution)[:, None] / 4 * total / energy[:, None]
    return Profile(
        energy=total,
        core=np.divide(core, total, out=np.ones_like(core), where=total > 0),
        core_radius=medium.moliere * np.minimum(0.05 + 0.1 * middle / medium.x0, 0.5) * wider[0],
        tail_radius=(0.12 * length + 0.06 * middle) * wider[1],
        spots=spots,
    )
