import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from translate.batches import Adaptation, Unpaired
from translate.data.adaptation import AdaptationSplit, Affine, Domain
from translate.data.digits import DigitsConfig, DigitsSource, _fitted
from translate.data.stream import Stream, batches
from translate.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path, rng):
    """Digit i is a square whose brightness tells its label; USPS is dimmer."""

    def made(count, side, bright):
        labels = np.arange(count) % 10
        images = np.zeros((count, side, side), np.uint8)
        images[:, 2:-2, 4:-4] = (bright + 10 * labels)[:, None, None]
        return images, labels.astype(np.uint8)

    arrays = {}
    for name, count, side, bright in (
        ("mnist", 3000, 28, 150),
        ("usps_train", 2500, 16, 50),
        ("usps_test", 40, 16, 50),
    ):
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = made(count, side, bright)
    np.savez(tmp_path / "digits.npz", **arrays)
    return tmp_path


def source(root, **keys):
    return DigitsSource(DigitsConfig(root=root, **keys))


def test_both_domains_and_held_out_parts(root):
    data = source(root)
    domains = data.domains()
    assert [len(part.labels) for part in domains] == [2500, 40, 2400, 600]
    assert data.batch_type is Adaptation
    assert data.channels == {"source": 1, "target": 1, "label": 10}
    assert data.describe() == "digits: usps to mnist, full: 2500 + 2400 training, 40 + 600 test images"
    whole = torch.cat([domains.target.images, domains.target_test.images])
    assert len(whole) == 3000
    assert whole.amax((1, 2, 3)).unique(return_counts=True)[1].tolist() == [300] * 10  # nothing twice, nothing lost
    for part, bright in zip(domains, (50, 50, 150, 150), strict=True):
        assert part.images.shape[1:] == (1, 28, 28)
        assert part.images.min() == -1
        expected = (bright + 10 * part.labels) / 127.5 - 1
        torch.testing.assert_close(part.images[:, 0, 14, 14], expected.float(), atol=0.01, rtol=0)


def test_batches(root):
    with Stream(source(root, batch_size=32).train, 32, 0) as stream:
        taken = list(itertools.islice(stream, 80))  # an epoch and a bit
    assert all(isinstance(batch, Adaptation) for batch in taken)
    labels = torch.cat([batch.label for batch in taken])
    torch.testing.assert_close(
        torch.cat([batch.source for batch in taken])[:, 0, 14, 14], (50 + 10 * labels) / 127.5 - 1, atol=0.01, rtol=0
    )
    assert labels[:2500].bincount().tolist() == [250] * 10  # each once
    target = torch.cat([batch.target for batch in taken])[:, 0, 14, 14]
    assert target.min() > 150 / 127.5 - 1.01
    assert np.corrcoef(target, labels)[0, 1] == pytest.approx(0, abs=0.07)  # drawn without regard to the source


def test_the_test_part_is_in_order(root):
    data = source(root)
    got = torch.cat([batch.target for _, batch in batches(data.test, 16)])
    assert torch.equal(got, data.domains().target_test.images[:40])


def test_protocol_samples(root):
    first, again, other = (source(root, protocol="sampled", draw=draw).domains() for draw in (0, 0, 1))
    assert [len(part.labels) for part in first] == [1800, 40, 2000, 600]
    assert torch.equal(first.source.images, again.source.images)
    assert not torch.equal(first.source.labels, other.source.labels)


def test_no_domains_at_all(root):
    domains = source(root, source="mnist", target="mnist").domains()
    assert [len(part.labels) for part in domains] == [1200, 600, 1200, 600]


def test_for_a_translator(root):
    data = source(root, labels=False, affine={}, limit=100, size=32)
    assert data.batch_type is Unpaired
    assert data.channels == {"a": 1, "b": 1}
    assert data.classes == ()
    with Stream(data.train, 8, 0) as stream:
        batch = next(iter(stream))
    assert isinstance(batch, Unpaired)
    assert batch.a.shape == batch.b.shape == (8, 1, 32, 32)
    assert len(data.train) == 100


def test_fit_centres_by_mass():
    image = np.zeros((16, 16), np.uint8)
    image[3:11, 2:10] = 200
    fitted = _fitted(image, "centre").astype(float)
    middle = [(fitted.sum(axis) @ np.arange(28)) / fitted.sum() for axis in (1, 0)]
    assert middle == pytest.approx([13.5, 13.5], abs=0.6)
    assert ((fitted > 100).any(0).sum(), (fitted > 100).any(1).sum()) == (11, 10)  # 8 of 16 are 10 of 20
    assert (_fitted(image, "resize") > 100).any(0).sum() == 15  # 14 and a soft edge


def test_faults(root, tmp_path):
    with pytest.raises(DataError, match=r"data.root: .*digits.npz is missing"):
        source(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"data.size: 28 is not a multiple of 8"):
        DigitsSource(DigitsConfig(root=root), 8)
    with pytest.raises(ValidationError, match=r"augment: digits have affine maps instead: affine: \{\}"):
        DigitsConfig(root=root, augment=({"name": "Rotate"},))
    np.savez(tmp_path / "digits.npz", usps_train_images=np.zeros((3, 8, 8), np.uint8), usps_train_labels=np.zeros(3))
    with pytest.raises(DataError, match=r"usps_train_images: uint8 \[3, 8, 8\] is not uint8 \[N, 16, 16\]"):
        source(tmp_path)
    (tmp_path / "digits.npz").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match=r"digits.npz: cannot be used"):
        source(tmp_path)


def test_affine_maps():
    images = torch.zeros(4, 1, 28, 28) - 1
    images[:, :, 10:18, 12:16] = 1
    still = Affine(rotate=0, scale=0, shear=0, shift=0)
    rng = np.random.default_rng(0)
    torch.testing.assert_close(still(images, rng.random((4, 6))), images, atol=1e-5, rtol=0)
    numbers = np.full((4, 6), 0.5)  # the middle of every range: nothing moves
    torch.testing.assert_close(Affine()(images, numbers), images, atol=1e-4, rtol=0)
    numbers[0, 4], numbers[1, 5] = 0, 1  # by −shift in x, by +shift in y: the picture goes the other way
    moved = Affine(shift=2)(images, numbers)
    torch.testing.assert_close(moved[0], images[0].roll(2, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[1], images[1].roll(-2, 1), atol=1e-4, rtol=0)
    turned = Affine(rotate=90, scale=0, shear=0, shift=0)(images, np.tile([1, 0.5, 0.5, 0.5, 0.5, 0.5], (4, 1)))
    torch.testing.assert_close(turned, images.rot90(1, (2, 3)), atol=1e-3, rtol=0)


def test_randomness_is_of_each_image():
    images = torch.rand(6, 1, 28, 28)
    split = AdaptationSplit(Domain(images, torch.arange(6)), images[:3], train=True, affine=Affine())
    numbers = np.random.default_rng(1).random((6, 13))
    whole = split.batch(np.arange(6), numbers)
    one = split.batch(np.array([4]), numbers[4:5])
    for many, single in zip(whole, one, strict=True):
        torch.testing.assert_close(many[4:5], single)


def test_real_digits(shared):
    domains = source(shared / "digits").domains()
    assert [len(part.labels) for part in domains] == [7291, 2007, 8000, 2000]
    ink = [(part.images > 0).float().mean().item() for part in (domains.source, domains.target)]
    assert abs(ink[0] / ink[1] - 1) < 0.15  # about as much ink, by `fit: centre`
    assert source(shared / "digits", fit="resize").domains().source.images.gt(0).float().mean() > 1.5 * ink[1]
