"""Means of losses between two lines of the journal."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from translate.processes import mean_over_processes

Names = tuple[str, ...]


class Meter:
    """Means of losses since the last line, kept on the device: nothing waits for the device between lines."""

    def __init__(self) -> None:
        self.sums: dict[Names, Tensor] = {}  # of steps that had the same losses
        self.counts: dict[Names, int] = {}

    def add(self, names: Sequence[str], values: Tensor) -> None:
        """Of one step; a name may be there several times. `values` [len(names)] may change afterwards."""
        key, values = tuple(names), values.detach().float()
        self.sums[key] = self.sums[key] + values if key in self.sums else values.clone()
        self.counts[key] = self.counts.get(key, 0) + 1

    def means(self) -> dict[str, float]:
        """Over the steps and the processes."""
        if not self.sums:
            return {}
        totals: dict[str, list[float]] = {}
        sums = mean_over_processes(torch.cat(list(self.sums.values()))).tolist()
        counted = ((name, count) for names, count in self.counts.items() for name in names)
        for (name, count), total in zip(counted, sums, strict=True):
            found = totals.setdefault(name, [0.0, 0])
            found[0], found[1] = found[0] + total, found[1] + count
        return {name: total / count for name, (total, count) in totals.items()}

    def clear(self) -> None:
        self.sums, self.counts = {}, {}

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.clear()
        for key, total in state["sums"].items():
            names = (key,) if isinstance(key, str) else key  # as older checkpoints have them
            self.sums[names], self.counts[names] = total.reshape(-1).to(device), state["counts"][key]
