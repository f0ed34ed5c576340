import io

import pytest
import torch
from torch.testing import assert_close

from translate.adversarial import ImagePool


def numbered(*numbers, channels=3, size=4):
    return torch.stack([torch.full((channels, size, size), float(number)) for number in numbers])


def names(images):
    return [int(image.flatten()[0]) for image in images]


def test_no_pool():
    images = numbered(1, 2).requires_grad_()
    before = torch.get_rng_state()
    assert names(ImagePool(0)(images)) == [1, 2]
    assert not ImagePool(0)(images).requires_grad
    assert torch.equal(torch.get_rng_state(), before)


def test_fills_first():
    pool = ImagePool(4)
    before = torch.get_rng_state()
    assert names(pool(numbered(1, 2, 3))) == [1, 2, 3]
    assert names(pool(numbered(4))) == [4]
    assert names(pool.stored) == [1, 2, 3, 4]
    assert torch.equal(torch.get_rng_state(), before)


def test_then_swaps_half_of_the_time():
    pool, swaps = ImagePool(5), 0
    pool(numbered(0, 1, 2, 3, 4))
    slots = torch.zeros(5)
    for number in range(5, 4005):
        before = names(pool.stored)
        (given,) = names(pool(numbered(number)))
        after = names(pool.stored)
        if given == number:  # returned, and not stored
            assert after == before
        else:  # an old one returned, the new one in its place
            slot = before.index(given)
            assert after == [*before[:slot], number, *before[slot + 1 :]]
            slots[slot] += 1
            swaps += 1
    assert_close(swaps / 4000, 0.5, atol=0.03, rtol=0)
    assert_close(slots / swaps, torch.full((5,), 0.2), atol=0.03, rtol=0)


def test_within_a_batch_images_are_treated_one_by_one():
    """The second image of a batch may return the first one; each image is stored or returned at once."""
    pool, inside = ImagePool(2), 0
    pool(numbered(0, 1))
    for number in range(2, 400, 4):
        batch, before = list(range(number, number + 4)), names(pool.stored)
        given, after = names(pool(numbered(*batch))), names(pool.stored)
        assert sorted(given + after) == sorted(batch + before)
        inside += any(given[place] in batch[:place] for place in range(4))
    assert inside > 0


def test_decisions_follow_the_seed():
    results = []
    for _ in range(2):
        torch.manual_seed(7)
        pool = ImagePool(2)
        results.append([names(pool(numbered(*range(start, start + 3)))) for start in range(0, 60, 3)])
    assert results[0] == results[1]
    assert results[0] != [list(range(start, start + 3)) for start in range(0, 60, 3)]


def test_stored_images_are_copies_without_graph():
    pool = ImagePool(2)
    source = torch.ones(2, 3, 4, 4, requires_grad=True)
    images = source * 2
    given = pool(images)
    assert not given.requires_grad
    with torch.no_grad():
        images.zero_()
    assert all(torch.equal(image, torch.full((3, 4, 4), 2.0)) for image in pool.stored)
    assert all(image.untyped_storage().nbytes() == 3 * 4 * 4 * 4 for image in pool.stored)


def test_input_is_left_alone():
    pool = ImagePool(1)
    pool(numbered(0))
    for number in range(1, 30):
        images = numbered(number, number + 100)
        pool(images)
        assert names(images) == [number, number + 100]


def test_pairs_and_memory_format():
    pool = ImagePool(1)
    pool(numbered(0, channels=6))
    for number in range(1, 20):
        images = numbered(number, channels=6).to(memory_format=torch.channels_last)
        given = pool(images)
        assert given.shape == (1, 6, 4, 4)
        assert given.is_contiguous(memory_format=torch.channels_last)


def test_another_size_replaces_the_stored_image():
    pool = ImagePool(2)
    pool(numbered(1, 2, size=4))
    for number in range(3, 40):
        assert names(pool(numbered(number, size=6)))[0] >= 3
    assert all(image.shape == (3, 6, 6) for image in pool.stored)


def test_resumes_to_the_last_bit():
    pool = ImagePool(3)
    for start in range(0, 20, 2):
        pool(numbered(start, start + 1))
    file = io.BytesIO()
    torch.save({"pool": pool.state_dict(), "rng": torch.get_rng_state()}, file)
    kept = names(pool.stored)
    expected = [names(pool(numbered(start, start + 1))) for start in range(20, 60, 2)]

    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed = ImagePool(3)
    resumed.load_state_dict(state["pool"])
    torch.set_rng_state(state["rng"])
    assert names(resumed.stored) == kept
    assert [names(resumed(numbered(start, start + 1))) for start in range(20, 60, 2)] == expected
    assert names(resumed.stored) == names(pool.stored)


def test_a_snapshot_does_not_change_afterwards():
    pool = ImagePool(2)
    pool(numbered(1, 2))
    snapshot = pool.state_dict()
    for number in range(3, 30):
        pool(numbered(number))
    restored = ImagePool(2)
    restored.load_state_dict(snapshot)
    assert names(restored.stored) == [1, 2]


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_pool_of_another_size_takes_what_fits(size):
    pool = ImagePool(2)
    pool(numbered(1, 2))
    other = ImagePool(size)
    other.load_state_dict(pool.state_dict())
    assert names(other.stored) == [1, 2][:size]


def test_bound_it_does_what_it_chose():
    """As it would have done with the same random numbers, image by image."""
    torch.manual_seed(1)
    free, bound = ImagePool(3), ImagePool(3)
    for pool in (free, bound):
        pool(numbered(0, 1, 2))
    told = torch.empty(4, dtype=torch.long)
    bound.bind(lambda count: told[:count])
    for number in range(3, 200, 4):
        batch = numbered(*range(number, number + 4))
        torch.manual_seed(number)
        given = names(free(batch))
        torch.manual_seed(number)
        told.copy_(torch.tensor(bound.choose(4)))
        assert names(bound(batch)) == given
        assert names(bound.stored) == names(free.stored)
    bound.unbind()
    assert len(bound(numbered(500))) == 1
