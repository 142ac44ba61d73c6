"""Print the folder of tasks, for lmms-eval's ``--include_path``."""

from dollhouse.evaluation.integrations.lmms_eval import TASKS

print(TASKS)
