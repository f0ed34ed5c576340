import os
import sys
from collections.abc import Iterator

import pytest

# Before torch starts its threads: small tensors gain nothing from two, and tests may run beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A session may have set the number of torch's threads, which is the process's; sums then differ in the last bit."""
    yield
    if (torch := sys.modules.get("torch")) is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
