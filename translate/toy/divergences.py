"""How far apart two distributions are, in three measures: Arjovsky et al. 2017, example 1 and figure 1.

Densities p and q [L] at equally spaced places x [L].
"""

import math

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from translate.toy import BLACK, BLUE, GREEN, ORANGE, SKY, WIDTH

Values = NDArray[np.float64]


def normal(x: Values, mean: float = 0.0, sigma: float = 1.0) -> Values:
    return np.asarray(np.exp(-(((x - mean) / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi)))


def kl(p: Values, q: Values, x: Values) -> float:
    """KL(p ‖ q) = ∫ p log(p/q) in nats; infinite where q is 0 and p is not."""
    inside = p > 0
    with np.errstate(divide="ignore"):
        return float((p[inside] * np.log(p[inside] / q[inside])).sum() * (x[1] - x[0]))


def js(p: Values, q: Values, x: Values) -> float:
    """The Jensen-Shannon divergence in nats, from 0 to log 2."""
    return (kl(p, (p + q) / 2, x) + kl(q, (p + q) / 2, x)) / 2


def wasserstein(p: Values, q: Values, x: Values) -> float:
    """W₁ = ∫ |P − Q| of the distribution functions, in units of x: on a line, the earth mover's distance."""
    return float(np.abs(np.cumsum(p - q)).sum() * (x[1] - x[0]) ** 2)


def draw() -> Figure:
    x, places = np.linspace(-10, 18, 2801), np.linspace(0, 8, 81)
    figure = Figure(figsize=(WIDTH, 6.2))
    figure.suptitle("Without overlap Jensen–Shannon is flat; Wasserstein still tells near from far")
    panels = figure.subplot_mosaic([["0.5", "curves"], ["3", "curves"], ["7", "curves"]], width_ratios=[1, 2.2])
    axes = panels.pop("curves")
    for place, panel in panels.items():
        for mean, colour in ((0.0, SKY), (float(place), ORANGE)):
            panel.fill_between(x, normal(x, mean), color=colour, alpha=0.6, linewidth=0)
        panel.set(title=f"displaced by {place} σ", xlim=(-3, 10.5), ylim=(0, 0.45), ylabel="density", yticks=[])
    panel.set_xlabel("x in σ")
    for name, measure, colour, at in (
        ("Kullback–Leibler", kl, BLACK, (0.75, 3.9)),
        ("Wasserstein-1", wasserstein, GREEN, (4.3, 3.9)),
        ("Jensen–Shannon, at most log 2", js, BLUE, (4.3, 0.82)),
    ):
        axes.plot(places, [measure(normal(x), normal(x, place), x) for place in places], color=colour)
        axes.text(*at, name, color=colour)
    axes.axhline(math.log(2), color=BLUE, linewidth=1, linestyle=":")
    axes.set(xlim=(0, 8), ylim=(0, 4.2), xlabel="displacement in σ", ylabel="KL and JS in nats, Wasserstein in σ")
    return figure
