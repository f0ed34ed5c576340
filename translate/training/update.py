"""How one player is updated: backward, average over processes, optimiser."""

from typing import Any

import torch
from torch import Tensor, nn

from translate.config.run import SGD, Adam, Player, RMSProp
from translate.processes import mean_over_processes
from translate.recipes import Turn
from translate.training.devices import Placement, average


class Update:
    """Calling it takes one step down the sum of a turn's losses."""

    def __init__(
        self,
        modules: list[nn.Module],
        optimizer: Adam | RMSProp | SGD,
        placement: Placement,
        player: Player = Player(),  # noqa: B008 - frozen
    ) -> None:
        self.parameters = [parameter for module in modules for parameter in module.parameters()]
        self.optimizer = optimizer.build(self.parameters)
        self.rate = optimizer.lr * player.rate
        self.player, self.placement = player, placement
        self.waits = player.above is not None or player.below is not None  # for each loss
        # fp16 gradients underflow without scaling: Micikevicius et al. 2018, sec. 3.2.
        self.scaler = torch.amp.GradScaler(placement.device.type, enabled=placement.dtype is torch.float16)
        self.at(1.0)

    def rate_at(self, factor: float) -> float:
        """The learning rate of this player where that of the schedule is `factor` times what it was."""
        return self.rate * (factor if self.player.decay else 1.0)

    def at(self, factor: float) -> None:
        """From now on at `rate_at(factor)`."""
        rate = self.rate_at(factor)
        for group in self.optimizer.param_groups:
            if self.placement.device.type != "cuda":
                group["lr"] = rate
                continue
            if not isinstance(group["lr"], Tensor):  # new, or read from a checkpoint
                group["lr"] = torch.empty((), device=self.placement.device)
                if "capturable" in group:
                    group["capturable"] = True
            group["lr"].fill_(rate)

    def __call__(self, turn: Turn) -> None:
        loss: Tensor = torch.stack(tuple(turn.losses.values())).sum()
        if not self.due(loss):
            return
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        average([parameter.grad for parameter in self.parameters if parameter.grad is not None], self.placement.world)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def due(self, loss: Tensor) -> bool:
        """Whether the balance allows an update; the same answer in all processes. Waits for the device then."""
        if not self.waits:
            return True
        value = mean_over_processes(loss.detach().reshape(1)).item()
        return (self.player.above is None or value > self.player.above) and (
            self.player.below is None or value < self.player.below
        )

    def state_dict(self) -> dict[str, Any]:
        state = self.optimizer.state_dict()
        for group in state["param_groups"]:  # for any device
            group["lr"] = self.rate
            group |= {"capturable": False} if "capturable" in group else {}
        return {"optimizer": state, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for group in state["optimizer"]["param_groups"]:  # decides where the optimiser's step counts go
            group |= {"capturable": self.placement.device.type == "cuda"} if "capturable" in group else {}
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
