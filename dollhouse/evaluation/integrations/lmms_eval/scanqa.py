"""What lmms-eval's task ``scanqa`` names in ``tasks/scanqa/scanqa.yaml``."""

from dollhouse.evaluation.integrations.lmms_eval.benchmark_task import BenchmarkTask

FIGURES = ("em", "em_refined", "em_refined_strict")
CAPTIONS = ("coco_bleu_1", "coco_bleu_2", "coco_bleu_3", "coco_bleu_4", "coco_rouge_l", "coco_cider")
TASK = BenchmarkTask("scanqa", "DOLLHOUSE_SCANQA", FIGURES, CAPTIONS)
__getattr__ = TASK.named
