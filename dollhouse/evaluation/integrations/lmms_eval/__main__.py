"""``python -m dollhouse.evaluation.integrations.lmms_eval``: prints the folder of tasks, for lmms-eval's ``--include_path``."""

from dollhouse.evaluation.integrations.lmms_eval import TASKS

print(TASKS)
