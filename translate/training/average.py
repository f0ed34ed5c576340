"""The averaged networks: what a run validates and keeps, if it has a running mean."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Average(AveragedModel):
    """An exponential moving average of the weights; buffers as they are: Yazici et al. 2019, eq. 1."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self._mix = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """As torch does, but that brings `n_averaged` to the device each time, and waits for it."""
        if not self.n_averaged:
            super().update_parameters(model)
            return
        self._mix(list(self.module.parameters()), list(model.parameters()), self.n_averaged)
        for mine, other in zip(self.module.buffers(), model.buffers(), strict=True):
            mine.copy_(other)
        self.n_averaged += 1
