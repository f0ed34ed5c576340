"""A history of generated images, so that the discriminator does not forget what earlier generators did."""

from typing import Any

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Shrivastava et al. 2017, sec. 2.3, as CycleGAN uses it (Zhu et al. 2017, sec. 4).

    Image by image: while fewer than `size` are stored, a new image is stored and returned. Then, with probability 1/2,
    a random stored image is returned and the new one takes its place; otherwise the new one is returned and not stored.
    A stored image of another shape cannot join the batch: the new one replaces it and is returned.

    Decisions come from torch's CPU generator, so a GPU is never waited for. The stored images are in the state dict.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.stored: list[Tensor] = []  # [C, H, W] each

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape, dtype, device and memory format, detached."""
        images = images.detach()
        if not self.size:
            return images
        mixed = images
        for index, image in enumerate(images):
            if len(self.stored) < self.size:
                self.stored.append(image.clone())  # a view would keep, and save, its whole batch
            elif torch.rand((), device="cpu").item() < 0.5:
                slot = int(torch.randint(self.size, (), device="cpu").item())
                old, self.stored[slot] = self.stored[slot], image.clone()
                if old.shape == image.shape:
                    mixed = images.clone() if mixed is images else mixed
                    mixed[index].copy_(old)
        return mixed

    def get_extra_state(self) -> dict[str, list[Tensor]]:
        return {"stored": list(self.stored)}

    def set_extra_state(self, state: Any) -> None:
        self.stored = list(state["stored"][: self.size])
