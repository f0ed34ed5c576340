"""A history of generated images, so that the discriminator does not forget what earlier generators did."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Shrivastava et al. 2017, sec. 2.3, as CycleGAN uses it (Zhu et al. 2017, sec. 4).

    Image by image: while fewer than `size` are stored, a new image is stored and returned. Then, with probability 1/2,
    a random stored image is returned and the new one takes its place; otherwise the new one is returned and not stored.
    A stored image of another shape cannot join the batch: the new one replaces it and is returned.

    Decisions come from torch's CPU generator, so a GPU is never waited for. The stored images are in the state dict.

    A CUDA graph cannot hold decisions: `bind` a full pool before one is recorded.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.stored: list[Tensor] = []  # [C, H, W] each
        self._bound: tuple[Tensor, Callable[[int], Tensor]] | None = None

    @property
    def full(self) -> bool:
        return len(self.stored) == self.size

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape, dtype, device and memory format, detached."""
        images = images.detach()
        if not self.size:
            return images
        if self._bound is not None:
            return self._exchanged(images, *self._bound)
        mixed = images
        for index, image in enumerate(images):
            if not self.full:
                self.stored.append(image.clone())  # a view would keep, and save, its whole batch
            elif (slot := self._slot()) < self.size:
                old, self.stored[slot] = self.stored[slot], image.clone()
                if old.shape == image.shape:
                    mixed = images.clone() if mixed is images else mixed
                    mixed[index].copy_(old)
        return mixed

    def _slot(self) -> int:
        """Where a full pool stores the next image; `size` for nowhere."""
        if torch.rand((), device="cpu").item() < 0.5:
            return int(torch.randint(self.size, (), device="cpu").item())
        return self.size

    def bind(self, slots: Callable[[int], Tensor]) -> None:
        """From now on each call asks `slots` for int64 [N], and stores image n at the n-th of them, or, at `size`, not:
        what `choose` says has to be there by then.
        """
        images = torch.stack([*self.stored, self.stored[0]])  # and a place for what is not to be stored
        self.stored = list(images[:-1])
        self._bound = images, slots

    def unbind(self) -> None:
        self._bound = None

    def choose(self, count: int) -> list[int]:
        """What a call with so many images would do."""
        return [self._slot() for _ in range(count)]

    def _exchanged(self, images: Tensor, stored: Tensor, slots: Callable[[int], Tensor]) -> Tensor:
        chosen, mixed = slots(len(images)), images.clone()
        for index in range(len(images)):
            slot, image = chosen[index : index + 1], images[index : index + 1]
            old = stored.index_select(0, slot)
            mixed[index : index + 1] = torch.where(slot < self.size, old, image)
            stored.index_copy_(0, slot, image)
        return mixed

    def get_extra_state(self) -> dict[str, list[Tensor]]:
        return {"stored": list(self.stored)}

    def set_extra_state(self, state: Any) -> None:
        self.stored = list(state["stored"][: self.size])
