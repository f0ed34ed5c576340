import itertools
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from translate.batches import Images, Paired
from translate.data.glyphs import GlyphsConfig, GlyphsSource
from translate.data.source import ArraySplit, Split
from translate.data.stream import Stream, batches
from translate.data.unpaired import UnpairedConfig, UnpairedSource
from translate.errors import ConfigError, DataError, ImageError


class Numbers(Split):
    """Sample i is [i, a random number], of a size that `sizes` gives; the indices in `bad` cannot be read."""

    batch_type = Images
    aligned = False

    def __init__(self, count, bad=(), sizes=(1,)):
        self.count, self.bad, self.sizes = count, set(bad), sizes

    def __len__(self):
        return self.count

    def sample(self, index, rng):
        if index in self.bad:
            raise ImageError(f"{index}.png: is damaged; remove it")
        side = self.sizes[index % len(self.sizes)]
        image = torch.zeros(2, side, side)
        image[0] = index
        image[1] = float(rng.random())
        return (image,)

    def name(self, index):
        return str(index)


class Table(ArraySplit):
    """As Numbers, a batch at a time."""

    batch_type = Images
    aligned = False
    numbers = 2

    def __init__(self, count, bad=()):
        self.count, self.bad = count, list(bad)

    def __len__(self):
        return self.count

    def batch(self, indices, numbers):
        assert numbers.shape == (len(indices), 2)
        if np.isin(indices, self.bad).any():
            raise DataError("a picture cannot be used")
        return (torch.from_numpy(np.column_stack([indices, numbers])).float()[..., None, None],)

    def name(self, index):
        return str(index)


def taken(split, count, **options):
    with Stream(split, **({"batch_size": 3, "seed": 5} | options)) as stream:
        return list(itertools.islice(stream, count))


def indices(found):
    return [batch.image[:, 0, 0, 0].int().tolist() for batch in found]


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


def equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert type(one) is type(other)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    return True


# The sequence


def test_every_epoch_is_a_permutation_given_by_seed_and_epoch():
    found = flat(indices(taken(Numbers(10), 20)))
    for epoch in range(6):
        assert found[10 * epoch : 10 * epoch + 10] == np.random.default_rng((5, epoch)).permutation(10).tolist()


def test_batches_larger_than_the_data():
    found = indices(taken(Numbers(2), 2, batch_size=5))
    assert [len(batch) for batch in found] == [5, 5]
    assert flat(found) == flat(np.random.default_rng((5, epoch)).permutation(2).tolist() for epoch in range(5))


def test_random_numbers_differ_by_sample_and_epoch_and_seed():
    first = torch.cat([batch.image[:, 1, 0, 0] for batch in taken(Numbers(10), 10)])
    assert len(first.unique()) == 30
    other = torch.cat([batch.image[:, 1, 0, 0] for batch in taken(Numbers(10), 10, seed=6)])
    assert not set(first.tolist()) & set(other.tolist())


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing(workers):
    assert equal(taken(Numbers(10, bad=[4]), 12), taken(Numbers(10, bad=[4]), 12, workers=workers))


@pytest.mark.parametrize(("first", "workers"), [(1, 0), (7, 0), (7, 2), (1000, 0)])
def test_starting_later_gives_the_same_batches(first, workers):
    expected = taken(Numbers(10), first + 5)[first:] if first < 100 else None
    found = taken(Numbers(10), 5, first=first, workers=workers)
    if expected:
        assert equal(expected, found)
    else:
        epoch, place = divmod(first * 3, 10)
        assert indices(found)[0][0] == np.random.default_rng((5, epoch)).permutation(10)[place]


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_the_batch(workers):
    whole = taken(Numbers(10, bad=[1]), 6, batch_size=4)
    shares = [taken(Numbers(10, bad=[1]), 6, batch_size=4, rank=rank, world=2, workers=workers) for rank in range(2)]
    joined = [Images(torch.cat([a.image, b.image])) for a, b in zip(*shares, strict=True)]
    assert equal(whole, joined)


def test_batch_that_cannot_be_shared():
    with pytest.raises(ConfigError, match=r"data\.batch_size: 3 cannot be shared equally by 2 processes"):
        Stream(Numbers(10), 3, 0, world=2)


def test_no_images():
    with pytest.raises(DataError, match="no images"):
        Stream(Numbers(0), 1, 0)


def test_real_augmented_pictures_do_not_depend_on_workers_or_start(unpaired_root):
    config = UnpairedConfig(root=unpaired_root, load_size=20, crop_size=16, augment=[{"name": "Rotate", "p": 0.5}])
    expected = taken(UnpairedSource(config).train, 8, batch_size=2)
    assert equal(expected, taken(UnpairedSource(config).train, 8, batch_size=2, workers=2))
    assert equal(expected[5:], taken(UnpairedSource(config).train, 3, batch_size=2, workers=1, first=5))


def test_fields_and_types():
    (batch,) = taken(GlyphsSource(GlyphsConfig(size=16, characters=[[48, 90]])).train, 1, batch_size=4)
    assert type(batch) is Paired
    assert batch.source.shape == (4, 3, 16, 16)
    assert batch.source.dtype == torch.float32
    assert batch.source.is_contiguous()


@pytest.mark.parametrize("workers", [0, 2])
def test_generators_of_the_training_are_left_alone(workers):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    taken(Numbers(10), 3, workers=workers)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()


def test_a_batch_at_a_time_has_the_same_order_and_numbers_of_its_own():
    found = taken(Table(10), 20)
    assert indices(found) == indices(taken(Numbers(10), 20))
    numbers = torch.cat([batch.image[:, 1:, 0, 0] for batch in found])
    assert len(numbers.unique()) == 120
    sample = Table(10).sample(4, np.random.default_rng(0))
    assert [field.shape for field in sample] == [(3, 1, 1)]
    assert sample[0][0, 0, 0] == 4
    assert equal(found[9:], taken(Table(10), 11, first=9, workers=2))
    small = taken(Table(2), 3, batch_size=5)  # several epochs in a batch
    assert indices(small) == indices(taken(Numbers(2), 3, batch_size=5))
    assert len(torch.cat([batch.image[:, 1] for batch in small]).unique()) == 15
    with pytest.raises(DataError, match="a picture cannot be used"):
        taken(Table(3, bad=[1]), 1, workers=1)


# What goes wrong


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_replaced_by_the_next_and_named_once(workers):
    with Stream(Numbers(10, bad=[3, 4]), 5, 0, workers=workers) as stream:
        found = flat(indices(itertools.islice(stream, 6)))
    assert sorted(found[:10]) == [0, 1, 2, 5, 5, 5, 6, 7, 8, 9]
    assert sorted(stream.problems) == ["3.png: is damaged; remove it", "4.png: is damaged; remove it"]


@pytest.mark.parametrize("workers", [0, 2])
def test_replacement_at_the_end_begins_again(workers):
    assert 9 not in flat(indices(taken(Numbers(10, bad=[9]), 8, workers=workers)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("count", [4, 300])
def test_nothing_readable(workers, count):
    with Stream(Numbers(count, bad=range(count)), 1, 0, workers=workers) as stream:
        with pytest.raises(DataError, match=rf"{min(count, 100)} files in a row cannot be used; the last: \d+\.png"):
            next(iter(stream))
        assert stream.problems


@pytest.mark.parametrize("workers", [0, 2])
def test_fail_raises_the_original_message(workers):
    with Stream(Numbers(4, bad=[2]), 4, 0, workers=workers, on_error="fail") as stream:
        with pytest.raises(ImageError) as caught:
            list(itertools.islice(stream, 3))
        assert str(caught.value) == "2.png: is damaged; remove it"
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 1])
def test_sizes_that_differ(workers):
    with (
        Stream(Numbers(4, sizes=(4, 8)), 4, 0, workers=workers) as stream,
        pytest.raises(DataError, match=r"data\.batch_size: pictures of 4x4 and 8x8.*data\.preprocess"),
    ):
        next(iter(stream))
    assert len(taken(Numbers(4, sizes=(4, 8)), 4, batch_size=1)) == 4


@pytest.mark.parametrize("workers", [0, 1])
def test_our_own_bugs_stay_bugs(workers):
    class Broken(Numbers):
        def sample(self, index, rng):
            raise ZeroDivisionError("a bug")

    with Stream(Broken(3), 1, 0, workers=workers) as stream, pytest.raises(ZeroDivisionError, match="a bug"):
        next(iter(stream))


def test_removed_image_while_training(unpaired_root):
    config = UnpairedConfig(root=unpaired_root, load_size=16, crop_size=16)
    data = UnpairedSource(config)
    (unpaired_root / "trainA" / "2.png").unlink()
    (unpaired_root / "trainA" / "3.png").write_bytes(b"")
    with Stream(data.train, 2, 0, workers=1) as stream:
        list(itertools.islice(stream, 8))
    assert len(stream.problems) == 2
    assert any("2.png: no such file" in problem for problem in stream.problems)
    assert any("3.png: is empty" in problem for problem in stream.problems)


# Processes


def running(child):
    """A process that has ended may stay listed, as a zombie, where its parent was killed."""
    try:
        state = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_workers_end_with_the_stream():
    stream = Stream(Numbers(10), 2, 0, workers=2)
    iterator = iter(stream)
    next(iterator)
    assert len(multiprocessing.active_children()) == 2
    stream.close()
    assert multiprocessing.active_children() == []
    assert list(iterator) == []
    stream.close()


def test_workers_end_with_an_abandoned_iteration():
    stream = Stream(Numbers(10), 2, 0, workers=2)
    for _ in stream:
        break
    assert multiprocessing.active_children() == []
    first = next(iter(stream))  # and it starts anew
    assert torch.equal(first.image, taken(Numbers(10), 1, batch_size=2, seed=0)[0].image)
    stream.close()


def test_workers_ignore_the_signals_that_end_a_run():
    with Stream(Numbers(10), 3, 5, workers=2) as stream:
        iterator = iter(stream)
        found = list(itertools.islice(iterator, 2))  # so both have begun
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGINT)
            os.kill(child.pid, signal.SIGTERM)
        found += list(itertools.islice(iterator, 20))
    assert equal(found, taken(Numbers(10), 22))
    assert multiprocessing.active_children() == []


def test_killed_worker_is_an_error_that_says_what_to_do():
    with Stream(Numbers(10), 2, 0, workers=1) as stream:
        iterator = iter(stream)
        next(iterator)
        (child,) = multiprocessing.active_children()
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(DataError, match=r"data\.workers: .*lower data\.workers"):
            list(itertools.islice(iterator, 100))


def test_workers_use_one_thread():
    class Threads(Numbers):
        def sample(self, index, rng):
            return (torch.full((1, 1, 1), torch.get_num_threads()),)

    (batch,) = taken(Threads(4), 1, workers=1, batch_size=1)
    assert batch.image.item() == 1


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "1 / 0", "os._exit(4)"])
def test_a_program_that_forgets_to_close_ends_all_the_same(ending):
    code = f"""
        import os, sys, itertools, multiprocessing
        from translate.data.glyphs import GlyphsConfig, GlyphsSource
        from translate.data.stream import Stream
        stream = Stream(GlyphsSource(GlyphsConfig(size=16, characters=[[48, 90]])).train, 2, 0, workers=2)
        iterator = iter(stream)
        next(iterator)
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        {ending}
    """
    program = [sys.executable, "-c", textwrap.dedent(code)]
    found = subprocess.run(program, capture_output=True, text=True, timeout=60)  # pipes close when the workers end
    assert found.returncode == {"": 0, "1 / 0": 1}.get(ending, 3 if "3" in ending else 4)
    children = [int(word) for word in found.stdout.split()]
    assert len(children) == 2
    assert not any(running(child) for child in children)


def test_splits_can_travel_to_a_fresh_process(unpaired_root, rng):
    """Where processes are spawned and not forked (macOS, Windows), the split is pickled."""
    config = UnpairedConfig(root=unpaired_root, load_size=20, crop_size=16, augment=[{"name": "Rotate"}])
    for split in (UnpairedSource(config).train, GlyphsSource(GlyphsConfig(size=16, characters=[[48, 90]])).train):
        again = pickle.loads(pickle.dumps(split))
        one, other = (each.sample(3, np.random.default_rng(1)) for each in (split, again))
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# The sequential pass


def test_batches_go_through_once_in_order():
    found = list(batches(Numbers(7), 3))
    assert [places for places, _ in found] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [indices([batch])[0] for _, batch in found] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [places for places, _ in batches(Numbers(7), 3, count=2)] == [[0, 1]]
    assert [places for places, _ in batches(Numbers(2), 3, count=9)] == [[0, 1]]


def test_batches_are_the_same_in_every_pass():
    one, other = ([batch for _, batch in batches(Numbers(5), 2)] for _ in range(2))
    assert equal(one, other)


def test_batches_skip_bad_files_and_say_so():
    problems: list[str] = []
    assert [places for places, _ in batches(Numbers(5, bad=[1, 4]), 2, problems=problems)] == [[0, 2], [3]]
    assert problems == ["1.png: is damaged; remove it", "4.png: is damaged; remove it"]
    assert list(batches(Numbers(2, bad=[0, 1]), 2)) == []


def test_batches_end_where_the_size_changes():
    assert [places for places, _ in batches(Numbers(5, sizes=(4, 4, 8)), 3)] == [[0, 1], [2], [3, 4]]
