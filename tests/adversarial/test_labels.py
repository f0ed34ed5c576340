import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from translate.adversarial import Labels, add_noise
from translate.config.clock import Clock, Ramp

CPU = torch.device("cpu")
START = Clock(step=0, images=0, total=100)
HALFWAY = Clock(step=50, images=0, total=100)
END = Clock(step=100, images=0, total=100)


def test_hard_labels_are_no_tensors_and_take_no_random_numbers():
    before = torch.get_rng_state()
    assert Labels().for_real(4, START, CPU) is None
    assert Labels().for_fake(4, START, CPU) is None
    assert torch.equal(torch.get_rng_state(), before)


def test_one_sided_smoothing():
    labels = Labels(real=0.9)
    assert_close(labels.for_real(3, START, CPU), torch.full((3,), 0.9))
    assert labels.for_fake(3, START, CPU) is None


def test_noisy_labels_are_uniform():
    drawn = Labels(real=(0.7, 1.2), fake=(-0.1, 0.3)).for_real(20_000, START, CPU)
    assert drawn.min() >= 0.7
    assert drawn.max() <= 1.2
    assert_close(drawn.mean().item(), 0.95, atol=0.005, rtol=0)
    assert_close(drawn.std().item(), 0.5 / 12**0.5, atol=0.005, rtol=0)


def test_flips_take_the_other_sides_label():
    labels = Labels(real=0.9, flip=0.2)
    real, fake = labels.for_real(20_000, START, CPU), labels.for_fake(20_000, START, CPU)
    assert set(real.unique().tolist()) == {0.0, torch.tensor(0.9).item()}
    assert set(fake.unique().tolist()) == {0.0, torch.tensor(0.9).item()}
    assert_close((real == 0).float().mean().item(), 0.2, atol=0.01, rtol=0)
    assert_close((fake != 0).float().mean().item(), 0.2, atol=0.01, rtol=0)


def test_flips_follow_their_ramp():
    labels = Labels(flip=Ramp(start=0.4, end=0.0))
    shares = [labels.for_fake(20_000, clock, CPU) for clock in (START, HALFWAY)]
    assert_close(torch.stack(shares).mean(1), torch.tensor([0.4, 0.2]), atol=0.015, rtol=0)
    assert labels.for_fake(20_000, END, CPU) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"real": [1.2, 0.7]}, r"real: \[1.2, 0.7\] is empty; write \[0.7, 1.2\]"),
        ({"real": 0.3, "fake": 0.3}, r"real labels \(from 0.3\) must lie above fake ones \(to 0.3\)"),
        ({"real": [0.2, 1.0], "fake": [0.0, 0.4]}, "must lie above fake ones"),
        ({"flip": 0.6}, r"must lie in \[0, 0.5\].*got 0.6"),
        ({"flip": {"start": 0.1, "end": -0.1}}, r"must lie in \[0, 0.5\].*got 0.1 to -0.1"),
        ({"real": "high"}, "real.number\n  Input should be a valid number"),
    ],
)
def test_labels_that_make_no_sense(values, message):
    with pytest.raises(ValidationError, match=message):
        Labels.model_validate(values)


def test_labels_survive_a_round_trip_through_a_file():
    labels = Labels(real=(0.7, 1.0), flip=Ramp(start=0.1, end=0.0))
    assert Labels.model_validate(labels.model_dump(mode="json")) == labels
    assert Labels.model_validate_json(labels.model_dump_json()) == labels


def test_instance_noise_anneals():
    images, noise = torch.zeros(4, 3, 64, 64), Ramp(start=0.4, end=0.0, finish=0.8)
    levels = [add_noise(images, noise, clock).std() for clock in (START, HALFWAY)]
    assert_close(torch.stack(levels), torch.tensor([0.4, 0.15]), rtol=0.03, atol=0)
    assert add_noise(images, noise, END) is images
    assert add_noise(images, 0.0, START) is images


def test_instance_noise_passes_gradients_and_leaves_its_input():
    images = torch.zeros(2, 3, 8, 8, requires_grad=True)
    noisy = add_noise(images, 0.1, START)
    noisy.sum().backward()
    assert_close(images.grad, torch.ones_like(images))
    assert images.abs().max() == 0
    assert noisy.abs().max() > 0
    wide = torch.zeros(2, 3, 8, 8).to(memory_format=torch.channels_last)
    assert add_noise(wide, 0.1, START).is_contiguous(memory_format=torch.channels_last)
