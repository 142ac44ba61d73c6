"""Distilling: recipes, batches, losses, their weighting, and the trainer."""
