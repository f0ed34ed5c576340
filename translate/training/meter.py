"""Means of losses between two lines of the journal."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from translate.training.devices import Placement


class Meter:
    """Means of losses since the last line, kept on the device: nothing waits for the device between lines."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, player: str, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            key = f"{player}/{name}"
            value = value.detach().float()
            self.sums[key] = self.sums[key] + value if key in self.sums else value
            self.counts[key] = self.counts.get(key, 0) + 1

    def means(self, placement: Placement) -> dict[str, float]:
        """Over the steps and the processes."""
        if not self.sums:
            return {}
        sums = placement.mean(torch.stack(list(self.sums.values())))
        return {key: total / self.counts[key] for key, total in zip(self.sums, sums.tolist(), strict=True)}

    def clear(self) -> None:
        self.sums, self.counts = {}, {}

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.sums = {key: total.to(device) for key, total in state["sums"].items()}
        self.counts = dict(state["counts"])
