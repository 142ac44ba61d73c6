"""True boxes as proposals, to train the language model before perception is accurate.

Their noise is about that of the student's own proposals on photos of real rooms: uncertain labels, shifted boxes,
missing objects and some that are not there. Pooled features are zero.

Axes: B batch, N object slots, L labels, C colours, V views.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dollhouse.data.collator import Batch
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.proposal_head import ProposalOutput, view_observations

CENTER_NOISE = 0.06  #: standard deviation in metres
SIZE_NOISE = 0.06  #: standard deviation of the logarithm of a box's size
DIRECTION_NOISE = 0.12  #: standard deviation added to unit vectors
LABEL_NOISE = COLOUR_NOISE = 0.7  #: standard deviation added to logits
OTHER_LOGIT = -3.2  #: of labels that an object does not have
LEAST_CLEAR, MOST_CLEAR = 0.5, 5.0  #: by how much the true label's logit is higher
SPURIOUS_RATE = 0.25  #: share of empty slots with an object that is not there
SPURIOUS_SPREAD = 1.5  #: standard deviation of its centre in metres
SPURIOUS_SIZES = 0.6  #: and of the logarithm of its size
MISS_RATE = 0.03  #: share of objects that are left out
TRUE_LOGIT = 4.0  #: of the true label and colour


def noisy_gt_objects(batch: Batch, config: DollhouseConfig) -> ProposalOutput:
    """Return the true boxes of a batch with noise, in random slots; no objects in scenes without annotations."""
    true = gt_objects(batch, config)
    count, slots = true.present.shape
    spurious = (1 - true.present) * (torch.rand_like(true.present) < SPURIOUS_RATE)
    spread = spurious.unsqueeze(-1) * torch.randn_like(true.center)
    noisy = ProposalOutput(
        features=true.features,
        present=true.present * (torch.rand_like(true.present) > MISS_RATE) + spurious,
        label_logits=uncertain_labels(true, spurious),
        colour_logits=true.colour_logits + COLOUR_NOISE * torch.randn_like(true.colour_logits),
        center=_with_noise(true.center, CENTER_NOISE) + SPURIOUS_SPREAD * spread,
        log_size=_with_noise(true.log_size, SIZE_NOISE) + SPURIOUS_SIZES * spread,
        front=F.normalize(_with_noise(true.front, DIRECTION_NOISE), dim=-1),
        axis=F.normalize(_with_noise(true.axis, DIRECTION_NOISE), dim=-1),
        view_observations=true.view_observations,
    )
    slot = torch.rand(count, slots, device=true.present.device).argsort(-1)
    row = torch.arange(count, device=slot.device).unsqueeze(-1)
    return noisy.take((row, slot))


def uncertain_labels(true: ProposalOutput, spurious: Tensor) -> Tensor:
    """Return label logits (B, N, L) as a student has them in photos: from clear to hardly above those of other labels.

    Every object also has a wrong label of some strength; one that is not there (``spurious``, B, N) has no other.
    """
    logits = OTHER_LOGIT + LABEL_NOISE * torch.randn_like(true.label_logits)
    right = F.one_hot(true.label_logits.argmax(-1), logits.shape[-1])
    wrong = F.one_hot(torch.randint_like(true.present, logits.shape[-1]).long(), logits.shape[-1])
    clear, confused = torch.rand_like(true.present), torch.rand_like(true.present)
    strength = true.present * (LEAST_CLEAR + (MOST_CLEAR - LEAST_CLEAR) * clear)
    doubt = torch.where(spurious > 0, LEAST_CLEAR + 2.0 * confused, 1.5 * confused)
    return logits + right * strength.unsqueeze(-1) + wrong * doubt.unsqueeze(-1)


def gt_objects(batch: Batch, config: DollhouseConfig) -> ProposalOutput:
    """Return the exact true boxes of a batch, in the order of ``batch.boxes``, as many as there are slots."""
    count, slots = len(batch.boxes), config.num_objects
    views = batch.pixel_values.shape[1]
    patch = config.get_vision_config().patch_size
    rows, columns = batch.pixel_values.shape[-2] // patch, batch.pixel_values.shape[-1] // patch
    device = batch.pixel_values.device
    log_depth = batch.patches.depth.clamp(min=1e-3).log()
    objects = ProposalOutput(
        features=torch.zeros(count, slots, config.trunk_width, device=device),
        present=torch.zeros(count, slots, device=device),
        label_logits=torch.full((count, slots, len(config.labels)), -TRUE_LOGIT, device=device),
        colour_logits=torch.zeros(count, slots, len(config.colours), device=device),
        center=torch.zeros(count, slots, 3, device=device),
        log_size=torch.zeros(count, slots, 3, device=device),
        front=torch.zeros(count, slots, 2, device=device),
        axis=torch.zeros(count, slots, 2, device=device),
        view_observations=view_observations(batch.patch_assignment, log_depth, views, rows, columns),
    )
    for row, truth in enumerate(batch.boxes):
        if truth is None:
            continue
        known = torch.arange(min(len(truth.label), slots), device=device)
        objects.present[row, known] = 1.0
        objects.label_logits[row, known, truth.label[known]] += 2 * TRUE_LOGIT
        coloured = known[truth.colour[known] >= 0]
        objects.colour_logits[row, coloured, truth.colour[coloured]] += TRUE_LOGIT + 1
        objects.center[row, known] = truth.center[known]
        objects.log_size[row, known] = truth.size[known].log()
        for field, angle in ((objects.front, truth.yaw[known]), (objects.axis, 2 * truth.yaw[known])):
            field[row, known] = torch.stack([angle.cos(), angle.sin()], -1)
    return objects


def _with_noise(values: Tensor, amount: float) -> Tensor:
    return values + amount * torch.randn_like(values)
