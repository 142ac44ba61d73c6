"""What lmms-eval's task ``rooms`` names in ``tasks/rooms/rooms.yaml``."""

from dollhouse.evaluation.integrations.lmms_eval.benchmark_task import RoomsTask

TASK = RoomsTask("rooms", "DOLLHOUSE_ROOMS", ("accuracy", "proximity", "contact", "size", "orientation"))
__getattr__ = TASK.named
