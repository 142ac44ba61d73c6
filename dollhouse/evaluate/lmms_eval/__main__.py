"""``python -m dollhouse.evaluate.lmms_eval``: prints the folder of tasks, for lmms-eval's ``--include_path``."""

from dollhouse.evaluate.lmms_eval import TASKS

print(TASKS)
