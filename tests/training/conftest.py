from collections.abc import Callable
from pathlib import Path

import pytest

TINY = {
    "pix2pix": """
recipe:
  kind: pix2pix
  generator: {kind: unet, width: 4, depth: 3}
  discriminator: {kind: patchgan, width: 4, layers: 1, norm: batch}
  pool_size: 6
data: {kind: glyphs, size: 32, batch_size: 4, workers: 2, shift: 2, limit: 60}
schedule: {kind: linear, epochs: 4, decay_from: 1}
validation: {every: 20, count: 8, samples: 2}
log: {every: 4}
ema: 0.9
""",
    "cyclegan": """
recipe:
  kind: cyclegan
  generator: {kind: resnet, width: 4, blocks: 1}
  discriminator: {kind: patchgan, width: 4, layers: 1}
  instance_noise: {start: 0.1, end: 0.0}
  labels: {flip: 0.1}
  pool_size: 6
data: {kind: glyphs, pairs: false, size: 32, batch_size: 2, workers: 2, limit: 60}
schedule: {kind: cosine, epochs: 2}
validation: {every: 20, count: 8, samples: 2}
log: {every: 4}
""",
}


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., str]:
    """Writes a config that trains in seconds and returns its path."""

    def write(kind: str, *replacements: tuple[str, str]) -> str:
        text = TINY[kind]
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / f"{kind}.yaml"
        path.write_text(text)
        return str(path)

    return write
