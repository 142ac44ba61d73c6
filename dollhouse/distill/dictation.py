"""The teacher's boxes in the form in which the student would have found them, so that it can learn to read early.

The language model need not wait for good eyes: it first reads true objects, roughened about as much as the
student's own will be (labels unsure, boxes shifted, some objects missed), and later the student's. Knows nothing of
photos; pooled features are zero.

Axes: B batch, N object slots, L labels, C colours, V views.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dollhouse.distill.batches import Batch
from dollhouse.student.config import DollhouseConfig
from dollhouse.student.objects import Objects, sightings

PLACE_NOISE = 0.06  #: metres, of a box's centre
SIZE_NOISE = 0.06  #: of the logarithm of a box's size
DIRECTION_NOISE = 0.12  #: of the unit vectors
MISSED = 0.03  #: share of objects that are left out
SURE = 4.0  #: logit of the true label and colour


def teacher_objects(batch: Batch, config: DollhouseConfig) -> Objects:
    """True boxes of a batch, in random slots, roughened by torch's random numbers. Unannotated scenes are empty."""
    count, slots = len(batch.boxes), config.num_objects
    views = batch.pixel_values.shape[1]
    patch = config.get_vision_config().patch_size
    rows, columns = batch.pixel_values.shape[-2] // patch, batch.pixel_values.shape[-1] // patch
    device = batch.pixel_values.device
    objects = Objects(
        features=torch.zeros(count, slots, config.trunk_width, device=device),
        present=torch.zeros(count, slots, device=device),
        label_logits=torch.randn(count, slots, len(config.labels), device=device) * 0.7 - SURE,
        colour_logits=torch.randn(count, slots, len(config.colours), device=device) * 0.7,
        center=torch.zeros(count, slots, 3, device=device),
        log_size=torch.zeros(count, slots, 3, device=device),
        front=torch.zeros(count, slots, 2, device=device),
        axis=torch.zeros(count, slots, 2, device=device),
        sightings=torch.zeros(count, slots, views, 4, device=device),
    )
    log_depth = batch.patches.depth.clamp(min=1e-3).log()
    seen = sightings(batch.member, log_depth, views, rows, columns)
    for row, truth in enumerate(batch.boxes):
        if truth is None:
            continue
        order = torch.randperm(slots, device=device)[: len(truth.label)]
        known = torch.arange(len(order), device=device)
        objects.present[row, order] = (torch.rand(len(order), device=device) > MISSED).float()
        objects.label_logits[row, order, truth.label[known]] += 2 * SURE
        coloured = known[truth.colour[known] >= 0]
        objects.colour_logits[row, order[coloured], truth.colour[coloured]] += SURE + 1
        objects.center[row, order] = _rough(truth.center[known], PLACE_NOISE)
        objects.log_size[row, order] = _rough(truth.size[known].log(), SIZE_NOISE)
        for field, angle in ((objects.front, truth.yaw[known]), (objects.axis, 2 * truth.yaw[known])):
            field[row, order] = F.normalize(
                _rough(torch.stack([angle.cos(), angle.sin()], -1), DIRECTION_NOISE), dim=-1
            )
        objects.sightings[row, order] = seen[row, known]
    return objects


def _rough(values: Tensor, amount: float) -> Tensor:
    return values + amount * torch.randn_like(values)
