"""Restoration without learning, to measure networks against: pure functions, chains of them, and their tuning."""

from research.classical.packages import PackageMissingError
from research.classical.pipeline import STEPS, Tuned, apply_steps, described, tuned

__all__ = ['STEPS', 'PackageMissingError', 'Tuned', 'apply_steps', 'described', 'tuned']
