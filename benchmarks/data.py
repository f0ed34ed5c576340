"""How much faster images are read than a training step uses them up.

    python benchmarks/data.py [--loader-only] [--batches 400] [--workers 2]

The input: 200 photo-like JPEGs of 256 x 256 in a temporary folder, read as the CycleGAN config reads them (unpaired,
batch 1, resized to 286, cropped to 256, mirrored). The step: that of `configs/cyclegan_horse2zebra.yaml` in its fast
form. Both are measured alone, the loader first; prints images/s of the loader, and over those of the step.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from translate.data.stream import Stream
from translate.data.unpaired import UnpairedConfig, UnpairedSource


def photographs(root: Path, count: int) -> None:
    """Blobs of all sizes with grain on them: about as hard to decode as a photograph (some 25 kB each)."""
    rng = np.random.default_rng(0)
    for index in range(count):
        image = np.zeros((256, 256, 3))
        for side in (4, 8, 16, 32, 64):
            noise = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            image += np.asarray(Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC)) * (4 / side)
        image = image / image.max() * 255 + rng.normal(0, 4, image.shape)
        folder = root / ("trainA" if index % 2 else "trainB")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.jpg", quality=92)


def loader_rate(root: Path, workers: int, batches: int) -> float:
    """Images/s, after a start that is not counted. A batch holds two: one of each side."""
    source = UnpairedSource(UnpairedConfig(root=root))
    with Stream(source.train, batch_size=1, seed=0, workers=workers) as stream:
        iterator = iter(stream)
        for _ in itertools.islice(iterator, 20):
            pass
        start = time.perf_counter()
        for _ in itertools.islice(iterator, batches):
            pass
        return 2 * batches / (time.perf_counter() - start)


def step_rate(steps: int) -> float:
    """Images/s that the CycleGAN training step takes in; the fastest of `steps`, so the hardest on the loader."""
    from training_step import CONFIGS, make, seconds

    from translate.config.load import load
    from translate.config.run import Adam
    from translate.training.devices import placement

    with placement(load(CONFIGS["cyclegan"])) as place:
        step = make("cyclegan", place, Adam())
        step()
        return 2 / min(seconds(step, place.device) for _ in range(steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loader-only", action="store_true", help="print the loader's images/s alone")
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder), 200)
        loader = loader_rate(Path(folder), arguments.workers, arguments.batches)
    print(f"loader: {loader:.0f} images/s with {arguments.workers} workers", flush=True)
    if not arguments.loader_only:
        print(f"loader / training step = {loader / step_rate(arguments.steps):.1f} (images/s over images/s)")


if __name__ == "__main__":
    main()
