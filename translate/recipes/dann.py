"""Classifiers for a domain without labels: DANN, Ganin et al. 2016, CDAN, Long et al. 2018, and VADA, Shu et al. 2018.

Features, a label head trained on the source, and a discriminator of domains that the features are trained to defeat.
Shapes: N examples, C channels, D features, K classes or numbers to be estimated.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from translate.adversarial import AdversarialConfig, Adversary, ClassPriors, Minimax, Objective, frozen, reverse
from translate.batches import Adaptation
from translate.config.clock import Clock, Ramp, Scheduled, at, off, peak
from translate.config.spec import Kinded, Spec
from translate.errors import ConfigError
from translate.nn.digits import Classifier, ClassifierNetwork, DomainDiscriminatorConfig, MNISTConfig, untracked
from translate.nn.precision import full_precision
from translate.recipes.base import Recipe, Turn


class Weights(Spec):
    adversarial: Scheduled = Ramp(start=0, end=1, shape="logistic")  # λ; all 0: the target is never looked at
    entropy: Scheduled = 0.0  # of information maximisation on the target: Liang et al. 2020 (SHOT), eqs. 3-4
    virtual: Scheduled = 0.0  # of virtual adversarial training on the target: Shu et al. 2018 (VADA), eq. 6


class DANNConfig(AdversarialConfig, Kinded):
    """`updates: alternating` lets the discriminator move first, `discriminator_updates` times, each on its own batch;
    what it minimises the features maximise, as with reversal. So of `objective` the discriminator's part alone counts.
    """

    kind: Literal["dann"] = "dann"
    network: ClassifierNetwork = MNISTConfig()
    discriminator: DomainDiscriminatorConfig = DomainDiscriminatorConfig()
    objective: Objective = Minimax()
    condition: Literal["none", "prediction"] = "none"  # CDAN: the discriminator sees features ⊗ predicted classes
    entropy_weighting: bool = False  # CDAN+E: examples that are classified with certainty count more
    class_weighting: bool = False  # IWDAN: those of the source as much as their class does in the target, by estimate
    updates: Literal["reversal", "alternating"] = "reversal"
    discriminator_updates: int = Field(default=1, ge=1)
    weights: Weights = Weights()
    virtual_radius: float = Field(default=2.0, gt=0)  # L2 length of its perturbation of an image, in values as it comes

    @model_validator(mode="after")
    def _of_features(self) -> Self:
        for key in ("pool_size", "augment", "ensemble"):
            if getattr(self, key):
                raise ValueError(f"{key}: is for discriminators of images, this one judges features; leave it out")
        if self.updates == "reversal" and self.discriminator_updates > 1:
            raise ValueError("discriminator_updates: reversal is one update; set updates: alternating")
        return self


class View(NamedTuple):
    """What the network makes of a batch of one domain."""

    features: Tensor  # [N, D]
    output: Tensor  # [N, K]


class DANN(Recipe, kind="dann"):
    Config = DANNConfig
    batch_type = Adaptation

    def __init__(
        self,
        config: DANNConfig,
        channels: Mapping[str, int],
        size: tuple[int, int] | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(config, channels, size, classes)
        if channels["source"] != channels["target"]:
            raise ConfigError(
                f"data: one network takes both domains, but the source has {channels['source']} channels and the "
                f"target {channels['target']}"
            )
        weighted = max(peak(config.weights.entropy), peak(config.weights.virtual)) > 0
        of_classes = config.condition != "none" or config.entropy_weighting or config.class_weighting or weighted
        if of_classes and not classes:
            raise ConfigError(
                "recipe: condition, entropy_weighting, class_weighting, weights.entropy and weights.virtual are of "
                "predicted classes, and these data have numbers to be estimated: leave them out"
            )
        self.config, self.classes = config, classes
        self.adversarial = peak(config.weights.adversarial) > 0
        self.draws = config.discriminator_updates if self.adversarial else 1
        self.named = classes or tuple(f"number {place}" for place in range(channels["label"]))
        out = len(self.named)
        self.classifier: Classifier = config.network.build(channels["source"], size, out)
        inputs = self.classifier.width * (out if config.condition == "prediction" else 1)
        if self.adversarial:
            self.adversary = Adversary(config.discriminator.build(inputs), config, full_precision)
        self.priors = ClassPriors(out) if self.adversarial and config.class_weighting else None
        self.adapted = self.adversarial or weighted
        self.classifier.on(self.adapted)

    def players(self) -> dict[str, list[nn.Module]]:
        if not self.adversarial:
            return {"network": [self.classifier]}
        if self.config.updates == "reversal":
            return {"network": [self.classifier, self.adversary.discriminator]}
        return {"discriminator": [self.adversary.discriminator], "network": [self.classifier]}

    def step(self, draw: Callable[[], Adaptation], clock: Clock) -> Iterator[Turn]:
        """Ganin et al. 2016, eqs. 13-15 by reversal (algorithm 1), or by turns."""
        alternating = self.adversarial and self.config.updates == "alternating"
        for _ in range(self.config.discriminator_updates if alternating else 0):
            batch = draw()
            with torch.no_grad():
                source, target = self.view(batch.source, False), self.view(batch.target, True)
            yield Turn("discriminator", self.domain_losses(source, target, batch.label, clock))
            self.adversary.enforce()
        if not alternating:
            batch = draw()
        source = self.view(batch.source, False)
        losses = {"label": self.label_losses(source.output, batch.label).mean()}
        if self.adapted:
            target = self.view(batch.target, True)
            strength = at(self.config.weights.adversarial, clock)
            if self.priors is not None:
                self.priors.update(batch.label, target.output)
            if alternating:
                losses["adversarial"] = -strength * self.verdict(source, target, batch.label, clock)
            elif self.adversarial:
                losses |= self.domain_losses(source, target, batch.label, clock, strength)
            if not off(self.config.weights.entropy, clock):
                losses["entropy"] = -at(self.config.weights.entropy, clock) * information(target.output)
            if not off(self.config.weights.virtual, clock):
                losses["virtual"] = at(self.config.weights.virtual, clock) * self.virtual(batch.target)
        yield Turn("network", losses)
        if self.adversarial and not alternating:
            self.adversary.enforce()

    def view(self, images: Tensor, target: bool) -> View:
        features = self.classifier.on(target).features(images)
        return View(features, self.classifier.head(features))

    def label_losses(self, output: Tensor, label: Tensor) -> Tensor:
        """[N]: cross-entropy of the classes, or the mean squared error of the numbers."""
        if self.classes:
            return F.cross_entropy(output, label, reduction="none")
        return (output - label).square().mean(1)

    def domain_losses(
        self, source: View, target: View, label: Tensor, clock: Clock, strength: float = 0.0
    ) -> dict[str, Tensor]:
        """What the discriminator minimises, the source being real; features go up it at `strength` times the rate."""
        real, fake = (reverse(self.judged(view), strength) for view in (source, target))
        counts = self.counts(source, target, label)
        return self.adversary.discriminator_losses(real, fake, clock, weights=counts, through=True)

    def verdict(self, source: View, target: View, label: Tensor, clock: Clock) -> Tensor:
        """The discriminator's loss as it is, for the features alone."""
        with frozen(self.adversary.discriminator):
            real, fake = (
                self.adversary.judge(self.adversary.shown(self.judged(view), clock)).logits for view in (source, target)
            )
        return self.config.objective.discriminator(real, fake, weights=self.counts(source, target, label))

    def counts(self, source: View, target: View, label: Tensor) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """How much each example of either domain counts for the discriminator, [N]; None: all alike."""
        if not self.config.entropy_weighting and self.priors is None:
            return None, None
        of_source, of_target = (
            certainty(view.output) if self.config.entropy_weighting else torch.ones_like(view.output[:, 0])
            for view in (source, target)
        )
        return of_source if self.priors is None else of_source * self.priors.weights(label), of_target

    def judged(self, view: View) -> Tensor:
        """What the discriminator sees: [N, D], or the multilinear map of Long et al. 2018, eq. 5, [N, D·K]."""
        if self.config.condition == "none":
            return view.features
        return (view.output.detach().softmax(1)[:, :, None] * view.features[:, None]).flatten(1)

    def virtual(self, images: Tensor) -> Tensor:
        """Mean KL(p(x) ‖ p(x + r)) on the target, r of the length that the config has, in the direction that one step
        of the power method finds the most harmful: Miyato et al. 2018 (arXiv 1704.03976), eqs. 5-8, algorithm 1."""

        def divergence(near: Tensor) -> Tensor:
            return F.kl_div(self.view(near, True).output.log_softmax(1), wanted, reduction="batchmean")

        def unit(direction: Tensor) -> Tensor:
            return F.normalize(direction.flatten(1)).view_as(direction)

        with full_precision(self.classifier), untracked(self.classifier):
            with torch.no_grad():
                wanted = self.view(images, True).output.softmax(1)
            small = (1e-2 * unit(torch.randn_like(images))).requires_grad_()
            (slope,) = torch.autograd.grad(divergence(images + small), [small])
            return divergence(images + self.config.virtual_radius * unit(slope))

    def deployed(self) -> dict[str, nn.Module]:
        return {"classifier": self.classifier}

    def sides(self) -> dict[str, tuple[str, str]]:
        return {"classifier": ("target", "label")}

    def outputs(self) -> tuple[str, ...]:
        return self.named

    def preview(self, networks: Mapping[str, nn.Module], batch: Adaptation) -> dict[str, Tensor]:
        """Images of both domains, with bars of the probabilities of their classes in turn."""
        columns = {}
        for name, images, target in (("source", batch.source, False), ("target", batch.target, True)):
            columns[name] = images
            if self.classes and images.shape[1] in (1, 3):
                columns[f"{name} classes"] = bars(self.ask(networks, images, target).output, *images.shape[2:])
        return columns

    def measure(self, networks: Mapping[str, nn.Module], batch: Adaptation) -> dict[str, Tensor]:
        """On the source: the labels of the target are not there."""
        output = self.ask(networks, batch.source, False).output
        right = {"accuracy": (output.argmax(1) == batch.label).float()} if self.classes else {}
        return right | {"loss": self.label_losses(output, batch.label)}

    def ask(self, networks: Mapping[str, nn.Module], images: Tensor, target: bool) -> View:
        """What a deployed network makes of images of a domain; it is the target's again after that."""
        network = networks["classifier"]
        assert isinstance(network, Classifier)
        features = network.on(target and self.adapted).features(images)
        network.on(self.adapted)
        return View(features, network.head(features))


def information(output: Tensor) -> Tensor:
    """H(mean p) − mean H(p) of a batch of logits [N, K]: certain of each, and not of the same class for all."""
    p = output.softmax(1)
    entropies: Tensor = torch.special.entr(torch.cat([p.mean(0, keepdim=True), p])).sum(1)
    return entropies[0] - entropies[1:].mean()


def certainty(output: Tensor) -> Tensor:
    """1 + exp(−H(p)), over its mean, [N]: Long et al. 2018, eq. 7."""
    weight: Tensor = 1 + (-torch.special.entr(output.detach().softmax(1)).sum(1)).exp()
    return weight / weight.mean()


def bars(output: Tensor, height: int, width: int) -> Tensor:
    """Logits [N, K] → pictures [N, 1, H, W] of K bars whose heights are the probabilities."""
    p = F.interpolate(output.softmax(1)[:, None], width, mode="nearest")  # [N, 1, W]
    level = torch.arange(height, 0, -1, device=p.device) / height
    return (level[:, None] <= p).float()[:, None] * 2 - 1
