import torch

from translate.evaluation.modes import count_modes

CENTRES = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def test_by_hand():
    samples = torch.tensor([[0.0, 0.5], [0.0, -2.9], [10.0, 3.1], [5.0, 5.0], [12.0, -2.0]])
    assert count_modes(samples, CENTRES, 1.0) == (2, 3 / 5)  # √8 < 3 is near, 3.1 is not
    assert count_modes(samples, CENTRES, 1.0, within=4) == (2, 4 / 5)
    assert count_modes(samples, CENTRES, 0.1) == (0, 0.0)
    assert count_modes(samples, CENTRES, 10.0).high_quality == 1
    assert count_modes(samples[..., None, None], CENTRES, 1.0) == (2, 3 / 5)


def test_in_one_dimension():
    assert count_modes(torch.tensor([[-1.2], [0.0], [0.9]]), torch.tensor([[-1.0], [1.0]]), 0.1) == (2, 2 / 3)


def test_what_is_not_finite_is_of_low_quality():
    samples = torch.tensor([[torch.nan, 0.0], [torch.inf, 0.0], [10.0, 0.0], [0.0, 0.0]])
    assert count_modes(samples, CENTRES, 1.0) == (2, 0.5)


def test_a_collapsed_generator_is_good_but_covers_little():
    assert count_modes(torch.zeros(2500, 2), CENTRES, 0.01) == (1, 1.0)
