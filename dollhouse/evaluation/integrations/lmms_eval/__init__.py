"""lmms-eval, from both sides: Dollhouse models among its models, and our benchmarks among its tasks.

``manifest`` is the entry point ``lmms_eval.models`` (lmms-eval from 0.6 on); ``TASKS`` is the folder for its
``--include_path``, which ``python -m dollhouse.evaluation.integrations.lmms_eval`` prints. Knows what lmms-eval expects; nothing else
of Dollhouse imports this, and lmms-eval itself is imported only when it asks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

TASKS = Path(__file__).parent / "tasks"


def manifest() -> Any:
    """What lmms-eval registers: the model ``dollhouse``."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="dollhouse", simple_class_path=f"{__name__}.model.DollhouseModel")
