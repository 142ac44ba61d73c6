"""Auxiliary probe: geometry read linearly from hidden states at the thinking positions.

The paper's objective gives thinking tokens no loss of their own. With this probe, each of them predicts its share of
known geometry, above the middle of the language model, so that the blocks above can attend to it.

- before the question: counts of objects by label, how many of these stand on others, and the nearest pair;
- after the question: the features of the objects that it names and their differences.

Its heads are used in training only; no chain of thought is written.

Axes: B scenes, K thinking tokens, F features, D text width, L labels, R questions, Q questions that name an object,
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
from dollhouse.scenes.box_relations import BoxRelations
from dollhouse.training.losses.grounding import (
    PAIR_FEATURES,
    GroundingTargets,
    grounding_errors,
    grounding_targets,
    name_features,
    pair_layer,
    pair_targets,
)

MAX_COUNT = 4  #: counts of one label are capped here
ABSENT_WEIGHT = 0.25  #: of the count of a label that the scene does not have
NEAREST_PAIR_FEATURES = 6  #: distance, line (cosine and sine of twice its angle), middle


class ThinkingProbe(nn.Module):
    """Linear heads on hidden states of thinking tokens; each feature is predicted from one token.

    Raises RecipeError for a student without thinking tokens.
    """

    token_of_feature: Tensor

    def __init__(self, config: DollhouseConfig) -> None:
        super().__init__()
        if not config.num_thinking_tokens:
            raise RecipeError("this student has no thinking tokens: take the loss thinking_probe out")
        text = config.get_text_config()
        self.thinking_ids = list(config.thinking_ids)
        self.before_question = config.thinking_placement == "before_question"
        self.labels, self.objects, self.views = len(config.labels), config.num_objects, config.max_referenced_views
        self.layer = pair_layer(text.num_hidden_layers)
        of_scene, of_questions = 2 * self.labels + NEAREST_PAIR_FEATURES, 2 * name_features(self.views) + PAIR_FEATURES
        features = of_scene if self.before_question else of_questions
        self.norm = nn.LayerNorm(text.hidden_size)
        self.head = nn.Linear(text.hidden_size, features)
        shares = np.array_split(np.arange(features), config.num_thinking_tokens)
        token = np.repeat(np.arange(len(shares)), [len(share) for share in shares])
        self.register_buffer("token_of_feature", torch.from_numpy(token), persistent=False)  # (F,)

    def scene_errors(self, hidden_states: Sequence[Tensor], boxes: Sequence[BoxTargets | None]) -> Tensor:
        """Return the errors (B',) of the scenes with boxes.

        ``hidden_states`` are (B, S, D) after 0, 1, ... blocks; the last K positions are thinking tokens.
        """
        states = hidden_states[self.layer][:, -len(self.thinking_ids) :]
        known = [(row, thinking_targets(box, self.labels, self.objects)) for row, box in enumerate(boxes) if box]
        if not known:
            return states.new_zeros(0)
        rows = torch.tensor([row for row, _ in known], device=states.device)
        values = torch.stack([target.values for _, target in known]).to(states.device)
        weight = torch.stack([target.weight for _, target in known]).to(states.device)
        return grounding_errors(self.predict(states[rows]), GroundingTargets(values, weight))

    def question_errors(
        self, hidden_states: Sequence[Tensor], ids: Tensor, features: Tensor, scene: Tensor, referred: ReferredObjects
    ) -> Tensor:
        """Return the errors (Q,) of the questions that name objects; arguments as of :class:`GroundingProbe`."""
        row, view, first, second, third = named_objects(referred).unbind(1)
        thinking = (ids.unsqueeze(-1) == torch.tensor(self.thinking_ids, device=ids.device)).any(-1)
        positions = thinking.nonzero()[:, 1].view(len(ids), -1)
        states = hidden_states[self.layer][row.unsqueeze(1), positions[row]]
        of_objects = features[scene[row].unsqueeze(1), torch.stack([first, second, third], 1).clamp(min=0)]
        has_second = (second >= 0).to(features.dtype).unsqueeze(1)
        parts = [grounding_targets(of_objects[:, number], self.views, view) for number in (0, 1)]
        parts.append(pair_targets(of_objects, self.views, view, third >= 0))
        for part in parts[1:]:
            part.weight = part.weight * has_second
        values, weight = torch.cat([part.values for part in parts], 1), torch.cat([part.weight for part in parts], 1)
        return grounding_errors(self.predict(states), GroundingTargets(values, weight))

    def predict(self, states: Tensor) -> Tensor:
        """Predict features (B, F) from thinking tokens (B, K, D), each from the token that it is assigned to."""
        assigned = self.norm(states)[:, self.token_of_feature]
        return (assigned * self.head.weight).sum(-1) + self.head.bias


def thinking_targets(boxes: BoxTargets, labels: int, max_objects: int) -> GroundingTargets:
    """Return targets (2L + 6,) of a scene's first ``max_objects`` objects.

    Counts by label up to :data:`MAX_COUNT`; of these, how many stand on another object; of the nearest pair the
    distance in metres, the line on the ground as cosine and sine of twice its angle, and the middle.
    """
    known = slice(0, max_objects)
    label = boxes.label[known].cpu().numpy()
    center, size = (value[known].double().cpu().numpy() for value in (boxes.center, boxes.size))
    floor = float((center[:, 2] - 0.5 * size[:, 2]).min(initial=np.inf)) if len(center) else 0.0
    relations = BoxRelations(center, size, boxes.yaw[known].double().cpu().numpy(), floor)
    count = np.bincount(label, minlength=labels)
    supported = np.bincount(label[np.array(relations.supports, dtype=np.int64) >= 0], minlength=labels)
    nearest, has_pair = np.zeros(NEAREST_PAIR_FEATURES), 0.0
    if len(label) > 1:
        distances = np.where(np.eye(len(label), dtype=bool), np.inf, relations.distances)
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        line = center[j] - center[i]
        angle = 2 * np.arctan2(line[1], line[0])
        nearest = np.array([distances[i, j], np.cos(angle), np.sin(angle), *(0.5 * (center[i] + center[j]))])
        has_pair = 1.0
    present = (count > 0).astype(np.float64)
    values = np.concatenate([np.minimum(count, MAX_COUNT), np.minimum(supported, MAX_COUNT), nearest])
    weight = np.concatenate(
        [np.where(present > 0, 1.0, ABSENT_WEIGHT), present, np.full(NEAREST_PAIR_FEATURES, has_pair)]
    )
    return GroundingTargets(torch.from_numpy(values).float(), torch.from_numpy(weight).float())


def named_objects(referred: ReferredObjects) -> Tensor:
    """Return the questions that name objects, (Q, 5): row, view, up to three objects; -1 is none."""
    names, pairs = referred.names, referred.pairs
    alone = names[~torch.isin(names[:, 0], pairs[:, 0])]
    none = torch.full_like(alone[:, 0], -1)
    single = torch.stack([alone[:, 0], alone[:, 3], alone[:, 2], none, none], 1)
    return torch.cat([single, pairs[:, [0, 2, 3, 4, 5]]])
