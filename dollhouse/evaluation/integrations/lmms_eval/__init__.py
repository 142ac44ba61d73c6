"""lmms-eval: Dollhouse models among its models, and our benchmarks among its tasks.

``manifest`` is the entry point ``lmms_eval.models`` (lmms-eval from 0.6 on); ``TASKS`` is the folder for its
``--include_path``, which ``python -m dollhouse.evaluation.integrations.lmms_eval`` prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

TASKS = Path(__file__).parent / "tasks"


def manifest() -> Any:
    """Return the manifest with which lmms-eval registers the model ``dollhouse``."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="dollhouse", simple_class_path=f"{__name__}.model.DollhouseModel")
