import os
import sys
from collections.abc import Iterator

import pytest

# Before torch starts its threads: small tensors gain nothing from two, and tests may run beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


def pytest_configure(config: pytest.Config) -> None:
    """`pytest -m gpu` is of the GPU. All else is of the CPU, to the last bit, and finds none on a machine that has one:
    CUDA looks here when it starts, in this process and in those that tests start."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A session may have set the number of torch's threads, which is the process's; sums then differ in the last bit."""
    yield
    if (torch := sys.modules.get("torch")) is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
