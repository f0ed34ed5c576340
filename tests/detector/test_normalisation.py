import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from translate.detector.normalisation import Normalisation
from translate.errors import DataError

KINDS = [
    Normalisation(kind="linear", scale=150.0),
    Normalisation(kind="symlog", scale=150.0, threshold=5.0),
    Normalisation(kind="symlog", scale=150.0),
    Normalisation(kind="linear", scale=(3.0, 70.0)),
    Normalisation(kind="symlog", scale=(3.0, 70.0), threshold=0.3),
]


@pytest.mark.parametrize("normalisation", KINDS, ids=lambda n: f"{n.kind}-{n.scale}")
def test_all_signed_16_bit_counts_come_back_to_the_bit(normalisation):
    counts = np.arange(-(1 << 15), 1 << 15, dtype=np.int16).reshape(2, 2, 128, 128)
    images = normalisation.forward(counts)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(normalisation.inverse(images, dtype=np.int16), counts)
    np.testing.assert_array_equal(images == 0, counts == 0)
    assert (np.sign(images) == np.sign(counts)).all()


@given(st.integers(-500_000, 500_000), st.floats(0.01, 100), st.floats(1, 1e6))
def test_integers_up_to_half_a_million(count, threshold, scale):
    cells = np.full((1, 1, 1, 1), count, np.int32)
    for normalisation in (Normalisation(scale=scale), Normalisation(kind="symlog", scale=scale, threshold=threshold)):
        np.testing.assert_array_equal(normalisation.inverse(normalisation.forward(cells), dtype=np.int32), cells)


@pytest.mark.parametrize("kind", ["linear", "log", "symlog"])
@pytest.mark.parametrize("by_energy", [False, True])
def test_energies_come_back_and_zeros_stay(kind, by_energy):
    rng = np.random.default_rng(0)
    cells = rng.exponential(50, (20, 3, 4, 5)).astype(np.float32) * (rng.random((20, 3, 4, 5)) < 0.3)
    energy = rng.uniform(1, 100, 20).astype(np.float32)
    options = {} if kind == "linear" else {"threshold": 1e-4 if by_energy else 1.0}
    normalisation = Normalisation(kind=kind, scale=0.1 if by_energy else 100.0, by_energy=by_energy, **options)
    images = normalisation.forward(cells, energy)
    back = normalisation.inverse(images, energy)
    np.testing.assert_allclose(back, cells, rtol=1e-5)
    np.testing.assert_array_equal(back == 0, cells == 0)


def test_values_by_hand():
    cells = np.array([0.0, 1.0, 10.0, -10.0]).reshape(1, 1, 2, 2)
    np.testing.assert_allclose(Normalisation(scale=10).forward(cells).ravel(), [0, 0.1, 1, -1])
    symlog = Normalisation(kind="symlog", scale=10, threshold=2).forward(cells).ravel()
    np.testing.assert_allclose(symlog, [0, np.log(1.5) / np.log(6), 1, -1], rtol=1e-6)
    share = Normalisation(scale=0.01, by_energy=True).forward(cells, np.array([1.0])).ravel()  # of 1 GeV
    np.testing.assert_allclose(share, [0, 0.1, 1, -1], rtol=1e-6)
    layers = Normalisation(scale=(1.0, 100.0)).forward(np.ones((1, 2, 1, 1))).ravel()
    np.testing.assert_allclose(layers, [1, 0.01], rtol=1e-6)


def test_nothing_is_clipped():
    cells = np.array([1e9, -1e9]).reshape(1, 1, 1, 2)
    for normalisation in (Normalisation(scale=1.0), Normalisation(kind="symlog", scale=1.0)):
        np.testing.assert_allclose(normalisation.inverse(normalisation.forward(cells)), cells, rtol=1e-5)
    with pytest.raises(OverflowError, match="do not fit into int16"):
        Normalisation().inverse(np.full((1, 1, 1, 1), 40000.0), dtype=np.int16)


def test_mistakes():
    with pytest.raises(DataError, match="choose symlog"):
        Normalisation(kind="log").forward(np.full((1, 1, 1, 1), -1))
    with pytest.raises(DataError, match="incident energy is not known"):
        Normalisation(by_energy=True).forward(np.ones((2, 1, 1, 1)), np.array([1.0, np.nan]))
    with pytest.raises(DataError, match="is of 2 layers, but images have 3"):
        Normalisation(scale=(1.0, 2.0)).forward(np.ones((1, 3, 1, 1)))
    with pytest.raises(ValidationError, match="a linear normalisation has none"):
        Normalisation(threshold=2.0)
    with pytest.raises(ValidationError):
        Normalisation(scale=0.0)
