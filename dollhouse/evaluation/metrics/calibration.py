"""Calibration of confidences: temperature and threshold, fitted on half of the scenes and measured on the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dollhouse.evaluation.metrics.curves import confidence_curve
from dollhouse.inference.session import calibrated_confidence

TEMPERATURES = tuple(2.0 ** (step / 8) for step in range(-24, 41))  #: 1/8 to 32; a grid, so that it is verifiable
LEAST = 20  #: answers below a threshold


def calibrate(
    scenes: Sequence[str], confidences: Sequence[float | None], correct: Sequence[bool]
) -> dict[str, Any] | None:
    """Fit a temperature and a threshold on every other scene by name, and measure both on the rest.

    The temperature divides the log odds of the confidence; it minimises the log loss. The threshold is the highest
    below which answers are wrong more often than right.

    Returns:
        ``temperature``, ``threshold``, ``fitted_on`` and ``held_out``: n, expected calibration error without and with
        the temperature, and accuracy above and below the threshold. None where an answer lacks its confidence or there
        are fewer than two scenes.
    """
    ordered = sorted(set(scenes))
    if len(ordered) < 2 or any(value is None for value in confidences):
        return None
    chosen = set(ordered[::2])
    answers = [(float(p or 0.0), right, scene) for p, right, scene in zip(confidences, correct, scenes, strict=True)]
    fitted = [answer for answer in answers if answer[2] in chosen]
    held_out = [answer for answer in answers if answer[2] not in chosen]
    temperature = min(TEMPERATURES, key=lambda value: _log_loss(fitted, value))
    threshold = _threshold([(calibrated_confidence(p, temperature), right) for p, right, _ in fitted])
    return {
        "temperature": temperature,
        "threshold": round(threshold, 4),
        "fitted_on": _measured(fitted, temperature, round(threshold, 4)),
        "held_out": _measured(held_out, temperature, round(threshold, 4)),
    }


def _measured(answers: Sequence[tuple[float, bool, str]], temperature: float, threshold: float) -> dict[str, Any]:
    scaled = [(calibrated_confidence(p, temperature), right, scene) for p, right, scene in answers]
    sides = {
        "above": [right for p, right, _ in scaled if p >= threshold],
        "below": [right for p, right, _ in scaled if p < threshold],
    }
    return {
        "n": len(answers),
        "ece_raw": _error(answers),
        "ece": _error(scaled),
        **{name: {"value": sum(side) / len(side), "n": len(side)} if side else None for name, side in sides.items()},
    }


def _error(answers: Sequence[tuple[float, bool, str]]) -> float:
    rows = [{"confidence": p, "correct": right, "scene": scene} for p, right, scene in answers]
    curve = confidence_curve(rows)
    return round(curve["ece"], 6) if curve else 0.0


def _log_loss(answers: Sequence[tuple[float, bool, str]], temperature: float) -> float:
    scaled = ((calibrated_confidence(p, temperature), right) for p, right, _ in answers)
    return round(-math.fsum(math.log(max(p if right else 1.0 - p, 1e-9)) for p, right in scaled), 6)


def _threshold(answers: Sequence[tuple[float, bool]]) -> float:
    """Return the highest threshold below which at least LEAST answers are wrong more often than right, else 0."""
    ordered, right, threshold = sorted(answers), 0, 0.0
    for count, (confidence, correct) in enumerate(ordered):
        if count >= LEAST and 2 * right < count and confidence > ordered[count - 1][0]:
            threshold = 0.5 * (confidence + ordered[count - 1][0])
        right += correct
    return threshold
