import numpy as np
import pytest

from translate.detector.electromagnetic import Profile
from translate.detector.hadronic import RESPONSE, electromagnetic_share, hadronic
from translate.detector.materials import MATERIALS, medium

IRON = medium(MATERIALS["Fe"], 1.0)
COUNT = 5000


def profile(energy: float, lengths: float, layers: int) -> Profile:
    edges = np.linspace(0, lengths * IRON.interaction, layers + 1)
    return hadronic(IRON, edges, np.full(COUNT, energy), 0.1, np.random.default_rng(0))


def test_a_share_of_exp_minus_depth_passes_as_a_track() -> None:
    """1.2 λ of iron: 20.2 cm, in which a minimum ionising particle leaves 230 MeV."""
    found = profile(50.0, 1.2, 4).energy
    track = 11.425e-3 * 1.2 * 16.777
    passed = np.abs(found.sum(1) - track) < 1e-4
    assert passed.mean() == pytest.approx(np.exp(-1.2), abs=4 * np.sqrt(0.3 * 0.7 / COUNT))
    assert found[passed] == pytest.approx(np.full((passed.sum(), 4), track / 4), rel=1e-3)


def test_the_response_is_that_of_the_shares() -> None:
    """All contained: E f + E (1 − f) h/e, f = 1 − E^(−0.18), within the track's energy; it rises with the energy."""
    for energy in (10.0, 100.0):
        found = profile(energy, 40.0, 80).energy.sum(1) / energy
        share = electromagnetic_share(np.array(energy))
        assert share == pytest.approx(1 - energy**-0.18)
        expected = RESPONSE + (1 - RESPONSE) * share
        deviation = (1 - RESPONSE) * np.sqrt(share * (1 - share) / 13)
        lost = IRON.ionisation / 1000 * IRON.interaction / energy * (1 - expected)  # the track counts in full
        assert found.mean() == pytest.approx(expected + lost, abs=4 * deviation / np.sqrt(COUNT) + 1e-4)
        assert found.std() == pytest.approx(deviation, rel=0.1)
        assert found.max() <= 1


def test_the_mean_profile_from_the_first_interaction() -> None:
    """Bock's gamma distributions, folded with the exponential start: mean depth λ + f·a X₀/b + (1 − f)·a λ/d."""
    energy = 50.0
    found, lengths = profile(energy, 40.0, 200).energy, (np.arange(200) + 0.5) / 5
    share, a, d = (
        electromagnetic_share(np.array(energy)),
        0.6165 + 0.3183 * np.log(energy),
        0.9099 - 0.0237 * np.log(50),
    )
    em, hadrons = share, (1 - share) * RESPONSE
    rest = 1 - IRON.ionisation / 1000 * IRON.interaction / energy
    expected = rest * (em * (1 + a / 0.2198 * IRON.x0 / IRON.interaction) + hadrons * (1 + a / d)) * energy
    assert (found @ lengths).mean() == pytest.approx(expected, rel=0.04)


def test_the_electromagnetic_part_is_narrow() -> None:
    found = profile(50.0, 6.0, 12)
    deep = found.energy > 0
    assert found.core[deep].min() >= 0
    assert found.core.max() <= 1
    assert (found.core_radius < found.tail_radius).mean() > 0.99
    assert np.median(found.tail_radius[:, -1]) == pytest.approx(
        np.median(0.12 * IRON.interaction + 0.06 * IRON.interaction * 5), rel=0.1
    )
    assert (found.spots >= 0).all()
