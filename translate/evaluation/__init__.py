"""How good images are: pure functions of images [N, C, H, W], of features [N, D] or of observables [N].

Nothing heavier than numpy is imported before a function needs it.
"""

from collections.abc import Mapping

from translate.evaluation.bootstrap import Interval, bootstrap, floor
from translate.evaluation.classifiers import proxy_a_distance, train_on, two_sample_test
from translate.evaluation.distributions import (
    Gaussian,
    energy_distance,
    frechet_distance,
    frechet_infinity,
    inception_score,
    kernel_distance,
    mmd,
    sliced_wasserstein,
)
from translate.evaluation.diversity import birthday, copying, different_bins, nearest
from translate.evaluation.manifolds import density_coverage, prd, precision_recall
from translate.evaluation.paired import PAIRED, label_scores, lpips, ms_ssim, paired_metrics
from translate.evaluation.physics import fpd, kpd

# How many samples of each set a metric needs before its value is worth printing without a warning.
NEEDED: Mapping[str, int] = {
    "frechet_distance": 10_000,  # the bias is c/N; and more than D
    "frechet_infinity": 5_000,  # and the smallest subset, a fifth, should be above D
    "kernel_distance": 1_000,  # one subset
    "mmd": 500,
    "energy_distance": 500,
    "sliced_wasserstein": 1_000,
    "inception_score": 50_000,  # as published; the bias is that of 5,000 a split
    "prd": 1_000,  # 50 a cluster
    "precision_recall": 10_000,
    "density_coverage": 1_000,
    "two_sample_test": 500,  # accuracy to 0.035
    "train_on": 500,
    "different_bins": 1_000,  # 10 a bin
    "birthday": 500,
    "copying": 500,
    "fpd": 50_000,  # as published
    "kpd": 5_000,  # one batch
    "separation": 1_000,
    "chi_squared": 500,
    "wasserstein": 500,
    "kolmogorov_smirnov": 100,
}

__all__ = [
    "NEEDED",
    "PAIRED",
    "Gaussian",
    "Interval",
    "birthday",
    "bootstrap",
    "copying",
    "density_coverage",
    "different_bins",
    "energy_distance",
    "floor",
    "fpd",
    "frechet_distance",
    "frechet_infinity",
    "inception_score",
    "kernel_distance",
    "kpd",
    "label_scores",
    "lpips",
    "mmd",
    "ms_ssim",
    "nearest",
    "paired_metrics",
    "prd",
    "precision_recall",
    "proxy_a_distance",
    "sliced_wasserstein",
    "train_on",
    "two_sample_test",
]
