import itertools
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from translate.batches import Images
from translate.data.source import size_of
from translate.data.stream import Stream, batches
from translate.data.toy import ToyConfig, ToySource
from translate.evaluation.modes import count_modes

NAMES = ["two_gaussians", "ring", "grid", "swiss_roll"]


def source(name, **keys):
    return ToySource(ToyConfig(name=name, **keys))


def taken(data, count, batch_size=64, **options):
    with Stream(data.train, batch_size, 7, **options) as stream:
        return torch.cat([batch.image for batch in itertools.islice(stream, count)])


@pytest.mark.parametrize("name", NAMES)
def test_points_are_images_of_one_pixel_with_unit_variance(name):
    data = source(name)
    dimensions = 1 if name == "two_gaussians" else 2
    assert data.batch_type is Images
    assert data.channels == {"image": dimensions}
    assert size_of(data.config) == (1, 1)
    points = taken(data, 200)
    assert points.shape == (12800, dimensions, 1, 1)
    assert points.dtype == torch.float32
    assert (points.flatten(1).std(0) > 0.85).all()
    assert (points.flatten(1).std(0) < 1.03).all()
    assert points.abs().max() < 2.2


@pytest.mark.parametrize(("name", "modes"), [("two_gaussians", 2), ("ring", 8), ("grid", 25)])
def test_mixtures_have_the_modes_that_they_say(name, modes):
    data = source(name)
    points = taken(data, 200).flatten(1).double()
    centres, sigma = data.modes
    assert centres.shape == (modes, points.shape[1])
    assert count_modes(points, centres, sigma).covered == modes
    normal = 1 - math.exp(-4.5) if name != "two_gaussians" else math.erf(3 / math.sqrt(2))
    assert count_modes(points, centres, sigma).high_quality == pytest.approx(normal, abs=0.004)
    nearest = torch.cdist(points, centres).argmin(1)
    assert (nearest.bincount() / len(points) * modes).sub(1).abs().max() < 0.2
    for mode in range(modes):
        mine = points[nearest == mode]
        torch.testing.assert_close(mine.mean(0), centres[mode], atol=5 * sigma / math.sqrt(len(mine)), rtol=0)
        torch.testing.assert_close(mine.std(0), torch.full_like(centres[mode], sigma), rtol=0.15, atol=0)


def test_published_numbers():
    ring, grid = source("ring").modes, source("grid").modes
    torch.testing.assert_close(ring.centres.norm(dim=1) * math.sqrt(2), torch.full((8,), 2.0, dtype=torch.float64))
    assert ring.sigma * math.sqrt(2) == pytest.approx(0.02)
    assert sorted({round(value, 6) for value in (grid.centres * math.sqrt(8)).flatten().tolist()}) == [-4, -2, 0, 2, 4]
    assert len(grid.centres.unique(dim=0)) == 25
    assert grid.sigma * math.sqrt(8) == pytest.approx(0.05)
    assert source("ring", sigma=0.1).modes.sigma == 0.1


def test_swiss_roll_is_where_the_formula_is():
    """Without noise, a point at angle t has distance t from the middle."""
    data = source("swiss_roll", sigma=1e-9)
    assert data.modes is None
    x, y = (taken(data, 20).flatten(1).double() * 7.5).T
    t = torch.hypot(x, y)
    assert (t.min() > 1.5 * math.pi - 1e-3, t.max() < 4.5 * math.pi + 1e-3) == (True, True)
    torch.testing.assert_close(x, t * t.cos(), atol=1e-3, rtol=0)
    torch.testing.assert_close(y, t * t.sin(), atol=1e-3, rtol=0)


def test_drawn_endlessly_as_a_function_of_seed_epoch_and_index():
    data = source("ring", count=100)
    whole = taken(data, 12)
    assert len(whole.flatten(1).unique(dim=0)) == 12 * 64  # a new epoch brings new points
    assert torch.equal(whole, torch.cat([taken(data, 5), taken(data, 7, first=5)]))
    assert torch.equal(whole, taken(data, 12, workers=2))
    assert torch.equal(whole, taken(data, 24, batch_size=32))
    shares = [taken(data, 12, rank=rank, world=2).split(32) for rank in range(2)]
    assert torch.equal(whole, torch.cat([torch.cat(pair) for pair in zip(*shares, strict=True)]))


def test_test_part_is_the_same_each_time():
    data = source("grid")
    one, two = (torch.cat([batch.image for _, batch in batches(data.test, 50, 200)]) for _ in range(2))
    assert torch.equal(one, two)
    assert count_modes(one, *data.modes).covered == 25
    assert not data.test.aligned
    assert data.describe() == "toy: grid, 100000 new points an epoch"


def test_keys_that_mean_nothing_here():
    for keys in ({"limit": 5}, {"augment": [{"name": "Rotate"}]}):
        with pytest.raises(ValidationError, match="toy data are drawn endlessly and are no pictures; leave it out"):
            ToyConfig(**keys)


@pytest.mark.parametrize("name", NAMES)
def test_picture(name):
    data = source(name)
    points = taken(data, 4)
    columns = {"data": list(points), "sample 1": list(-points + 0.3), "sample 2": list(points)}
    picture = data.picture(columns)
    assert (picture.size, picture.mode) == ((500, 500), "RGB")
    pixels = np.asarray(picture).astype(int)
    colour = pixels[(pixels.max(2) - pixels.min(2)) > 60]
    assert (colour[:, 2] > colour[:, 0]).any()  # blue: the data
    assert (colour[:, 0] > colour[:, 2]).any()  # orange: all that was generated
    far = data.picture(columns | {"sample 2": [point + 100 for point in points]})  # the frame stays
    assert far.size == picture.size
