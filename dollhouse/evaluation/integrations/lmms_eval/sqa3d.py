"""What lmms-eval's task ``sqa3d`` names in ``tasks/sqa3d/sqa3d.yaml``."""

from dollhouse.evaluation.integrations.lmms_eval.benchmark_task import BenchmarkTask

TASK = BenchmarkTask("sqa3d", "DOLLHOUSE_SQA3D", ("em", "em_refined", "em_refined_strict"))
__getattr__ = TASK.named
