"""How good images are: pure functions of images or features."""

from translate.evaluation.paired import PAIRED, paired_metrics

__all__ = ["PAIRED", "paired_metrics"]
