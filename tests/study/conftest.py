from pathlib import Path

import numpy as np
import pytest

CONFIG = """
recipe:
  kind: dann
  network: {{kind: mnist, widths: [8, 16, 32]}}
  discriminator: {{width: 8}}
data: {{kind: digits, root: {root}, batch_size: 32}}
optimizer: {{kind: adam, lr: 1e-2, betas: [0.9, 0.999]}}
schedule: {{kind: constant, epochs: 6}}
validation: {{every: 30, count: 64, batch_size: 32, samples: 2}}
log: {{every: 20}}
ema: 0.9
study: {{translator: {translator}}}
"""
TRANSLATOR = """
recipe:
  kind: cyclegan
  generator: {{kind: resnet, width: 2, blocks: 1}}
  discriminator: {{kind: patchgan, width: 2, layers: 1}}
data: {{kind: digits, root: {root}, labels: false, batch_size: 4}}
schedule: {{kind: constant, epochs: 1}}
validation: {{every: 4, count: 4, samples: 2}}
"""


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """digits.npz: ten patterns of 4 x 4 blocks with noise; those of MNIST larger and dimmer."""
    rng = np.random.default_rng(0)
    patterns = rng.random((10, 4, 4)) < 0.5
    arrays = {}
    for name, count, side, bright in (
        ("mnist", 500, 28, 160),
        ("usps_train", 300, 16, 230),
        ("usps_test", 120, 16, 230),
    ):
        labels = rng.permutation(np.arange(count) % 10)
        blocks = np.kron(patterns[labels], np.ones((1, side // 4, side // 4))) * bright
        images = np.clip(blocks + rng.normal(0, 25, (count, side, side)), 0, 255).astype(np.uint8)
        arrays |= {f"{name}_images": images, f"{name}_labels": labels.astype(np.uint8)}
    np.savez(tmp_path / "digits.npz", **arrays)
    return tmp_path


@pytest.fixture
def config(digits: Path) -> str:
    translator = digits / "translator.yaml"
    translator.write_text(TRANSLATOR.format(root=digits))
    path = digits / "tiny.yaml"
    path.write_text(CONFIG.format(root=digits, translator=translator))
    return str(path)
