"""Refine predicted camera poses of a batch by :mod:`dollhouse.runtime.registration`, without gradients.

Axes: V views, P patches of a view, N objects of a view, L labels, C colours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from dollhouse.models.dollhouse.heads import Cameras
from dollhouse.models.dollhouse.voting_head import VoteOutput, cluster_votes
from dollhouse.runtime.registration import OBJECTS_PER_VIEW, ObjectSet, make_objects, register_views


def refine_cameras(votes: VoteOutput, cameras: Cameras) -> Cameras:
    """Correct heading and position of the later views where their objects match earlier views better otherwise."""
    with torch.no_grad():
        batch, views = cameras.focal.shape
        heading, position = cameras.heading.clone(), cameras.position.clone()
        observed = objects_by_view(votes, batch, views)
        for row in range(batch):
            turns = torch.atan2(heading[row, :, 1], heading[row, :, 0]).tolist()
            predicted = list(zip(turns, position[row].double().cpu().numpy(), strict=True))
            for view, (turn, shift) in register_views(observed[row], predicted).items():
                heading[row, view] = heading.new_tensor([np.cos(turn), np.sin(turn)])
                position[row, view] = position.new_tensor(shift)
    return replace(cameras, heading=heading, position=position)


def objects_by_view(votes: VoteOutput, batch: int, views: int) -> list[list[ObjectSet]]:
    """Cluster the votes of each view to objects in its own level frame."""
    per_view = votes.map(lambda value: value.unflatten(1, (views, -1)).flatten(0, 1))
    assignment = cluster_votes(replace(per_view, center=per_view.own_center), OBJECTS_PER_VIEW)
    weight = assignment * per_view.foreground.unsqueeze(-1)
    mass = weight.sum(1)
    share = (weight / mass.clamp(min=1e-6).unsqueeze(1)).transpose(1, 2).float()
    position, log_size = share @ per_view.own_center, share @ per_view.log_size
    label = F.normalize(share @ per_view.label_logits.float().softmax(-1)[..., :-1], dim=-1)
    colour = F.normalize(share @ per_view.colour_logits.float().softmax(-1), dim=-1)
    arrays = [value.double().cpu().numpy() for value in (position, label, colour, log_size, mass)]
    objects = [make_objects(*(value[row] for value in arrays)) for row in range(batch * views)]
    return [objects[row * views : (row + 1) * views] for row in range(batch)]
