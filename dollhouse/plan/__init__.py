"""Plans: how large a model is, and how much memory it will want, before anything is allocated.

Predictions come from the model's own code, run on shapes alone (:mod:`dollhouse.plan.live_memory`).
"""
