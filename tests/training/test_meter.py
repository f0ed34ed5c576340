"""Means of losses over steps that need not have the same ones."""

import torch

from translate.training.meter import Meter


def test_means_are_over_the_times_that_a_loss_was_there() -> None:
    """A discriminator's loss comes several times in a step, a penalty not in each."""
    meter = Meter()
    values = torch.tensor([1.0, 3.0, 5.0])
    meter.add(("d/loss", "d/loss", "g/loss"), values)
    values.fill_(100.0)  # a graph writes the next step's there
    meter.add(("d/loss", "d/loss", "d/penalty", "g/loss"), torch.tensor([5.0, 7.0, 2.0, 6.0]))
    meter.add(("d/loss", "d/loss", "g/loss"), torch.tensor([1.0, 1.0, 1.0]))
    assert meter.means() == {"d/loss": 3.0, "g/loss": 4.0, "d/penalty": 2.0}
    again = Meter()
    again.load_state_dict(meter.state_dict(), torch.device("cpu"))
    assert again.means() == meter.means()
    meter.clear()
    assert meter.means() == {}


def test_that_of_older_checkpoints_goes_on() -> None:
    meter = Meter()
    meter.load_state_dict({"sums": {"d/loss": torch.tensor(6.0)}, "counts": {"d/loss": 2}}, torch.device("cpu"))
    meter.add(("d/loss",), torch.tensor([3.0]))
    assert meter.means() == {"d/loss": 3.0}
