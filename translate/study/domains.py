"""Two domains in memory as a source of training data, for variants that change what is in them."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from translate.batches import Adaptation, Unpaired
from translate.data.adaptation import AdaptationSplit, Domain, Domains
from translate.data.source import Batch, Source, SourceConfig

if TYPE_CHECKING:
    from PIL import Image


class MemorySource(Source):
    """`original` with other images: Adaptation batches, or Unpaired ones for a translator with `config` of its own."""

    def __init__(self, original: Source, domains: Domains, config: SourceConfig | None = None) -> None:
        self.original, self.config = original, config or original.config
        labelled = config is None
        self.batch_type: type[Batch] = Adaptation if labelled else Unpaired
        self.classes = original.classes if labelled else ()
        channels = domains.source.images.shape[1]
        self.channels = dict(original.channels) if labelled else {"a": channels, "b": channels}
        affine = getattr(self.config, "affine", None)
        source, source_test, target, target_test = domains
        self.train = AdaptationSplit(source, target.images, train=True, affine=affine, labelled=labelled)
        self.test = AdaptationSplit(source_test, target_test.images, train=False, labelled=labelled)

    def describe(self) -> str:
        return self.original.describe()

    def picture(self, columns: Mapping[str, Sequence[Tensor]]) -> "Image.Image | None":
        """As the original source shows them, in the translator's normalisation where these are of one."""
        if type(self.config) is not type(self.original.config):
            return None
        shown = copy.copy(self.original)
        shown.config = self.config
        return shown.picture(columns)


def unlabelled(domains: Domains) -> Domains:
    """The same without the labels of the target: whoever is given this cannot use them."""
    target, target_test = (Domain(part.images, torch.empty(0)) for part in (domains.target, domains.target_test))
    return domains._replace(target=target, target_test=target_test)


def apart(domains: Domains) -> Domains:
    """The same, but where both domains are one, their held-out images are two halves: no image is in both."""
    if domains.source_test.images is not domains.target_test.images:
        return domains
    return domains._replace(
        source_test=_every_second(domains.source_test, 0), target_test=_every_second(domains.target_test, 1)
    )


def halves(domains: Domains) -> Domains:
    """The source as both domains, which share no image: its training part in two, held-out images of both the same."""
    count = len(domains.source.labels)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    test = domains.source_test
    parts = [domains.source.take(part) for part in (order[: count // 2], order[count // 2 :])]
    return Domains(parts[0], _every_second(test, 0), parts[1], _every_second(test, 1))


def _every_second(part: Domain, start: int) -> Domain:
    return part.take(torch.arange(start, len(part.images), 2))


def recoded(part: Domain, here: SourceConfig, there: SourceConfig) -> Domain:
    """The same images as other data normalise them: detector images, for a translator of its own normalisation."""
    a, b = getattr(here, "normalisation", None), getattr(there, "normalisation", None)
    if a is None or b is None or a == b:
        return part
    cells = a.inverse(part.images.numpy(), dtype=np.float64)
    return Domain(torch.from_numpy(b.forward(np.where(part.images.numpy() == 0, 0, cells))), part.labels)


def translated(domains: Domains, network: nn.Module, here: SourceConfig, there: SourceConfig) -> Domains:
    """The source's images as `network`, trained on data as `there`, shows them, with their labels."""

    def shown(part: Domain) -> Domain:
        with torch.no_grad():
            images = torch.cat([network(images) for images in recoded(part, here, there).images.split(250)])
        return recoded(Domain(images, part.labels), there, here)

    return domains._replace(source=shown(domains.source), source_test=shown(domains.source_test))
