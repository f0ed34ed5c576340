"""The adversarial game: objectives, penalties, constraints, labels, the image pool, and `Adversary`, which plays it."""

from translate.adversarial.adversary import AdversarialConfig, Adversary, frozen
from translate.adversarial.augment import DiffAugment
from translate.adversarial.constraints import Constraint, Free, SpectralNorm, WeightClip
from translate.adversarial.diversity import mode_seeking, pulling_away
from translate.adversarial.ensemble import Ensemble, adversary
from translate.adversarial.labels import Labels, add_noise
from translate.adversarial.objectives import (
    Energy,
    Hinge,
    LeastSquares,
    MaximumLikelihood,
    Minimax,
    NonSaturating,
    Objective,
    Wasserstein,
)
from translate.adversarial.penalties import R1, Drift, GradientPenalty, Penalty, PenaltyContext
from translate.adversarial.pool import ImagePool
from translate.adversarial.priors import ClassPriors
from translate.adversarial.reversal import reverse

__all__ = [
    "R1",
    "AdversarialConfig",
    "Adversary",
    "ClassPriors",
    "Constraint",
    "DiffAugment",
    "Drift",
    "Energy",
    "Ensemble",
    "Free",
    "GradientPenalty",
    "Hinge",
    "ImagePool",
    "Labels",
    "LeastSquares",
    "MaximumLikelihood",
    "Minimax",
    "NonSaturating",
    "Objective",
    "Penalty",
    "PenaltyContext",
    "SpectralNorm",
    "Wasserstein",
    "WeightClip",
    "add_noise",
    "adversary",
    "frozen",
    "mode_seeking",
    "pulling_away",
    "reverse",
]
