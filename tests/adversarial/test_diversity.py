import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from translate.adversarial import DiffAugment, mode_seeking, pulling_away


def test_pulling_away_by_hand() -> None:
    """Angles of 0, 45 and 90 degrees between three features: squared cosines 1/2, 1/2 and 0, each twice, over 3 x 2."""
    features = torch.tensor([[2.0, 0.0], [3.0, 3.0], [0.0, 0.1]])
    assert_close(pulling_away(features), torch.tensor(2 * (0.5 + 0.5 + 0) / 6))


def test_pulling_away_is_one_where_all_samples_are_the_same() -> None:
    assert_close(pulling_away(torch.ones(4, 7)), torch.tensor(1.0))


def test_mode_seeking_by_hand_and_its_direction() -> None:
    z = torch.tensor([[0.0], [0.0]]), torch.tensor([[2.0], [4.0]])  # mean distance 3
    images = torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 0.6)
    assert_close(mode_seeking(*images, *z), torch.tensor(1 / (0.2 + 1e-5)))
    same = mode_seeking(images[0], images[0], *z)
    assert same > mode_seeking(*images, *z), "the same picture from two latents costs most"


@pytest.mark.parametrize("policy", ["colour", "translation", "cutout"])
def test_augmentation_is_differentiable_and_of_each_image_alone(policy: str) -> None:
    torch.manual_seed(0)
    images = torch.rand(6, 3, 16, 24, requires_grad=True)
    augmented = DiffAugment(policy=(policy,))(images)
    assert augmented.shape == images.shape
    assert not torch.equal(augmented, images)
    (gradient,) = torch.autograd.grad(augmented[2].square().sum(), images)
    assert gradient[2].abs().sum() > 0
    assert gradient[[0, 1, 3, 4, 5]].abs().sum() == 0
    again = DiffAugment(policy=(policy,))(images)
    assert not torch.equal(augmented, again), "drawn anew at each call"


def test_translation_moves_whole_pixels_and_fills_with_zeros() -> None:
    torch.manual_seed(1)
    images = torch.rand(64, 1, 16, 16) + 1
    moved = DiffAugment(policy=("translation",))(images)
    seen = set()
    for before, after in zip(images[:, 0], moved[:, 0], strict=True):
        matches = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.equal(after, F.pad(before, (2, 2, 2, 2))[2 + dy : 18 + dy, 2 + dx : 18 + dx])
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {dy for dy, _ in seen} == {dx for _, dx in seen} == {-2, -1, 0, 1, 2}


def test_cutout_leaves_a_hole_of_at_most_half_the_side() -> None:
    torch.manual_seed(2)
    cut = DiffAugment(policy=("cutout",))(torch.ones(64, 2, 16, 16))
    assert torch.equal(cut[:, 0], cut[:, 1])
    holes = (cut[:, 0] == 0).sum((1, 2))
    assert holes.max() == 64
    assert holes.min() >= 16, "a corner at least: a quarter of the hole"


def test_colour_keeps_the_mean_but_for_brightness() -> None:
    torch.manual_seed(3)
    images = torch.rand(256, 3, 8, 8)
    shift = DiffAugment(policy=("colour",))(images).mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert shift.abs().max() <= 0.5
    assert shift.std() > 0.2
