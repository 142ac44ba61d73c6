"""Thoughts: thinking tokens must know something, though nobody ever reads them.

Nothing in the paper's objective says what a thinking token should hold; it carries no loss of its own. Here the hidden
states at the thinking positions, above the middle of the language model, must tell geometry that the teacher knows,
each token its share, so that the blocks above can look it up there. No chain of thought is written by anyone.

- before the question, they tell facts of the scene: how many objects of each label it holds and how many of these
  stand on others, how far apart the two nearest objects are, along which line, and where;
- after the question, they tell the measures of the objects that it names and how these differ.

The heads that read this out are used in training only. Knows nothing of words.

Axes: B scenes, K thinking tokens, F facts, D text width, L labels, R questions, Q questions that name an object,
N objects, T text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dollhouse.data.collator import BoxTargets
from dollhouse.data.tokenization import ReferredObjects
from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.proposal_head import BOX_FEATURES, FRONT, VIEW_FEATURES
from dollhouse.scenes.box_relations import BoxRelations
from dollhouse.training.losses.grounding import (
    GroundingTargets,
    grounding_errors,
    grounding_targets,
    pair_layer,
    pair_targets,
)

MOST = 4  #: objects of one label from which on they are not counted any further
ABSENT = 0.25  #: weight of the number of a label that the scene does not hold
NEAREST = 6  #: facts of the nearest pair: distance, line (cosine and sine of twice its angle), middle


class ThinkingProbe(nn.Module):
    """Reads geometry out of the hidden states at the thinking positions.

    Raises RecipeError for a student that has no thinking tokens.
    """

    def __init__(self, config: DollhouseConfig) -> None:
        super().__init__()
        if not config.num_thinking_tokens:
            raise RecipeError("this student has no thinking tokens: take the loss thoughts out")
        text = config.get_text_config()
        self.thinking_ids = list(config.thinking_ids)
        self.of_scene = config.thinking_placement == "before_question"
        self.labels, self.objects, self.views = len(config.labels), config.num_objects, config.max_referenced_views
        self.layer = pair_layer(text.num_hidden_layers)
        of_object = BOX_FEATURES + self.views * (1 + VIEW_FEATURES) + VIEW_FEATURES
        of_pair = FRONT.start + 3 + 1 + VIEW_FEATURES
        facts = 2 * self.labels + NEAREST if self.of_scene else 2 * of_object + of_pair
        self.norm = nn.LayerNorm(text.hidden_size)
        self.tell = nn.Linear(text.hidden_size, facts)  # a row is read by one token only
        shares = np.array_split(np.arange(facts), config.num_thinking_tokens)
        teller = np.repeat(np.arange(len(shares)), [len(share) for share in shares])
        self.register_buffer("teller", torch.from_numpy(teller), persistent=False)  # (F,) which token tells a fact

    teller: Tensor

    def about_scenes(self, hidden_states: Sequence[Tensor], boxes: Sequence[BoxTargets | None]) -> Tensor:
        """Errors (B',) of the scenes with boxes; ``hidden_states`` (B, S, D) whose last K positions think."""
        states = hidden_states[self.layer][:, -len(self.thinking_ids) :]
        known = [(row, scene_facts(one, self.labels, self.objects)) for row, one in enumerate(boxes) if one is not None]
        rows = torch.tensor([row for row, _ in known], dtype=torch.long, device=states.device)
        told, weight = (
            torch.stack([getattr(facts, name) for _, facts in known]).to(states.device)
            if known
            else torch.zeros(0, len(self.teller), device=states.device)
            for name in ("told", "weight")
        )
        return grounding_errors(self.said(states[rows]), GroundingTargets(told, weight))

    def about_questions(
        self, hidden_states: Sequence[Tensor], ids: Tensor, facts: Tensor, owner: Tensor, asked: ReferredObjects
    ) -> Tensor:
        """Errors (Q,) of the questions that name objects.

        ``hidden_states`` (R, T, D) of questions ``ids`` (R, T) on scenes ``owner`` (R), ``facts`` (B, N, ...) of true
        objects as :meth:`dollhouse.models.dollhouse.proposal_head.ObjectProjector.geometry_features` has them.
        """
        row, view, first, second, third = objects_asked_about(asked).unbind(1)
        thinking = (ids.unsqueeze(-1) == torch.tensor(self.thinking_ids, device=ids.device)).any(-1)
        places = thinking.nonzero()[:, 1].view(len(ids), -1)
        states = hidden_states[self.layer][row.unsqueeze(1), places[row]]
        of_objects = facts[owner[row].unsqueeze(1), torch.stack([first, second, third], 1).clamp(min=0)]
        both = (second >= 0).to(facts.dtype).unsqueeze(1)
        parts = [
            grounding_targets(of_objects[:, 0], self.views, view),
            _only(grounding_targets(of_objects[:, 1], self.views, view), both),
            _only(pair_targets(of_objects, self.views, view, third >= 0), both),
        ]
        told, weight = (torch.cat([getattr(part, name) for part in parts], 1) for name in ("told", "weight"))
        return grounding_errors(self.said(states), GroundingTargets(told, weight))

    def said(self, states: Tensor) -> Tensor:
        """What thinking tokens (B, K, D) tell: (B, F), each fact read from the token whose share it is."""
        read = self.norm(states)[:, self.teller]
        return (read * self.tell.weight).sum(-1) + self.tell.bias


def scene_facts(boxes: BoxTargets, labels: int, most_objects: int) -> GroundingTargets:
    """Facts (2L + 6,) of a scene's first ``most_objects`` objects, and their weights.

    Numbers of objects by label up to MOST; of these, how many stand on another object; the nearest pair's distance in
    metres, its line on the ground as cosine and sine of twice the angle (a line has no direction) and its middle.
    """
    known = slice(0, most_objects)
    label = boxes.label[known].cpu().numpy()
    center, size = (value[known].double().cpu().numpy() for value in (boxes.center, boxes.size))
    floor = float((center[:, 2] - 0.5 * size[:, 2]).min(initial=np.inf)) if len(center) else 0.0
    layout = BoxRelations(center, size, boxes.yaw[known].double().cpu().numpy(), floor)
    count = np.bincount(label, minlength=labels)
    carried = np.bincount(label[np.array(layout.supports, dtype=np.int64) >= 0], minlength=labels)
    nearest, pair_known = np.zeros(NEAREST), 0.0
    if len(label) > 1:
        apart = np.where(np.eye(len(label), dtype=bool), np.inf, layout.distances)
        one, other = np.unravel_index(apart.argmin(), apart.shape)
        across = center[other] - center[one]
        angle = 2 * np.arctan2(across[1], across[0])
        nearest = np.array([apart[one, other], np.cos(angle), np.sin(angle), *(0.5 * (center[one] + center[other]))])
        pair_known = 1.0
    there = (count > 0).astype(np.float64)
    told = np.concatenate([np.minimum(count, MOST), np.minimum(carried, MOST), nearest])
    weight = np.concatenate([np.where(there > 0, 1.0, ABSENT), there, np.full(NEAREST, pair_known)])
    return GroundingTargets(torch.from_numpy(told).float(), torch.from_numpy(weight).float())


def objects_asked_about(asked: ReferredObjects) -> Tensor:
    """Questions that name objects, (Q, 5): row in the chunk, the view named, up to three objects; -1 is none."""
    names, pairs = asked.names, asked.pairs
    alone = names[~torch.isin(names[:, 0], pairs[:, 0])]
    none = torch.full_like(alone[:, 0], -1)
    single = torch.stack([alone[:, 0], alone[:, 3], alone[:, 2], none, none], 1)
    return torch.cat([single, pairs[:, [0, 2, 3, 4, 5]]])


def _only(target: GroundingTargets, known: Tensor) -> GroundingTargets:
    """The same targets, of no weight where ``known`` (K, 1) is 0."""
    return GroundingTargets(target.told, target.weight * known)
