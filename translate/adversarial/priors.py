"""How much examples of a class count for a discriminator of domains in which classes are not equally frequent."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from translate.processes import mean_over_processes


class ClassPriors(nn.Module):
    """Running shares of K classes in the source, counted, and in the target, estimated; a step of EM a batch.

    Where they differ, features that no discriminator can tell apart must be wrong ones for some examples: the lower
    bound of Zhao et al. 2019 (arXiv 1901.09453). Weights q(y) / p(y) of the source's examples mend that: Tachet des
    Combes et al. 2020 (arXiv 2003.04475), who weight the label loss, too, and find q by quadratic programming; here it
    is the most likely one for the predictions: Saerens et al. 2002, eq. 2.11.
    """

    source: Tensor
    target: Tensor

    def __init__(self, classes: int, momentum: float = 0.99, largest: float = 10.0) -> None:
        super().__init__()
        self.momentum, self.largest = momentum, largest
        self.register_buffer("source", torch.full((classes,), 1 / classes))
        self.register_buffer("target", torch.full((classes,), 1 / classes))

    @torch.no_grad()
    def update(self, label: Tensor, logits: Tensor) -> None:
        """Of labels [N] of the source and a classifier's logits [N, K] on the target, of all processes."""
        counted = F.one_hot(label, len(self.source)).float().mean(0)
        joint = logits.float().softmax(1) * self.ratio()
        seen = torch.stack([counted, (joint / joint.sum(1, keepdim=True)).mean(0)])
        seen = mean_over_processes(seen)
        self.source.lerp_(seen[0], 1 - self.momentum)
        self.target.lerp_(seen[1], 1 - self.momentum)

    def ratio(self) -> Tensor:
        """q / p, [K]."""
        return (self.target / self.source.clamp_min(1e-12)).clamp_max(self.largest)

    def weights(self, label: Tensor) -> Tensor:
        """Of examples of the source with these labels, [N]."""
        return self.ratio()[label]
