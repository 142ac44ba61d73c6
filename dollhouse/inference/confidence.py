"""Calibrated confidence of answers."""

from __future__ import annotations


def calibrated_confidence(confidence: float, temperature: float) -> float:
    """Divide the log odds of a confidence in [0, 1] by a temperature."""
    if temperature == 1.0:
        return confidence  # bit for bit
    right, wrong = confidence ** (1.0 / temperature), (1.0 - confidence) ** (1.0 / temperature)
    return right / (right + wrong)
