"""Configs: what an experiment is, read strictly. `load` and `dump` are in `translate.config.load`."""

from translate.config.clock import Clock, Ramp, Scheduled, at
from translate.config.run import Run
from translate.config.spec import Kinded, Spec

__all__ = ["Clock", "Kinded", "Ramp", "Run", "Scheduled", "Spec", "at"]
