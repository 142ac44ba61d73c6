"""Camera, voting and detection losses against slow references in plain Python, and gradients by finite differences."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import permutations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from dollhouse.data.collator import BoxTargets, PatchTargets
from dollhouse.models.dollhouse.heads import Cameras
from dollhouse.models.dollhouse.proposal_head import ProposalOutput
from dollhouse.models.dollhouse.voting_head import VoteOutput
from dollhouse.models.tensors import IGNORE
from dollhouse.training.losses.camera import camera_loss
from dollhouse.training.losses.detection import detection_losses, match_boxes
from dollhouse.training.losses.voting import patch_label_loss, voting_loss

LABELS, COLOURS = 4, 3


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def logsumexp(values: list[float]) -> float:
    return math.log(sum(math.exp(value) for value in values))


def l1(first: Tensor, second: list[float]) -> float:
    return sum(abs(a - b) for a, b in zip(first.tolist(), second, strict=True))


def unit(angle: float) -> list[float]:
    return [math.cos(angle), math.sin(angle)]


# cameras


def random_poses(batch: int, views: int) -> Tensor:
    rotation = torch.linalg.qr(randn(batch, views, 3, 3)).Q
    pose = torch.eye(4, dtype=torch.float64).repeat(batch, views, 1, 1)
    pose[..., :3, :3], pose[..., :3, 3] = rotation, randn(batch, views, 3)
    return pose


def test_camera_loss() -> None:
    batch, views = 2, 3
    poses, up, focal = random_poses(batch, views), randn(batch, views, 3), randn(batch, views).exp()
    predicted = [randn(batch, views, 3), randn(batch, views, 2), randn(batch, views, 3), randn(batch, views).exp()]
    known = torch.ones(batch, dtype=torch.bool)
    for value in predicted:
        value.requires_grad_()

    def loss(*values: Tensor) -> Tensor:
        return camera_loss(Cameras(*values), poses, up, focal, known, known)

    sums = dict.fromkeys(("position", "heading", "up", "focal"), 0.0)
    for row in range(batch):
        for view in range(views):
            of_view = [value[row, view].detach() for value in predicted]
            pose = poses[row, view]
            # the camera looks along its z axis; heading is counter-clockwise from the y axis
            turn = math.atan2(float(pose[1, 2]), float(pose[0, 2])) - math.pi / 2
            sums["up"] += l1(of_view[0], up[row, view].tolist())
            sums["heading"] += l1(of_view[1], unit(turn))
            sums["position"] += l1(of_view[2], pose[:3, 3].tolist())
            sums["focal"] += abs(math.log(float(of_view[3])) - math.log(float(focal[row, view])))
    count = batch * views
    expected = sums["position"] / (3 * count) + 2 * sums["heading"] / (2 * count) + 4 * sums["up"] / (3 * count)
    assert float(loss(*predicted).detach()) == pytest.approx(expected + sums["focal"] / count, rel=1e-9)
    assert gradcheck(loss, predicted)


# votes


def random_patches(batch: int, patches: int) -> PatchTargets:
    shape = (batch, patches)
    label = torch.randint(0, LABELS + 1, shape)
    label[0, 0], label[0, 1] = LABELS, 0  # background and an object in any case
    is_object = label < LABELS
    label[-1, -1] = IGNORE  # an object without a label
    is_object &= label >= 0
    colour = torch.where(is_object, torch.randint(-1, COLOURS, shape), -1)
    depth = torch.rand(shape, dtype=torch.float64) + 0.5
    depth[0, 2] = 0
    return PatchTargets(
        label=label,
        colour=colour,
        object_patch=is_object.double(),
        depth=depth,
        own_center=randn(*shape, 3),
        center=randn(*shape, 3),
        size=torch.rand(*shape, 3, dtype=torch.float64) + 0.2,
        own_yaw=randn(*shape),
        has_front=torch.randint(0, 2, shape).double(),
        oblong=torch.randint(0, 2, shape).double(),
    )


def reference_voting_loss(votes: VoteOutput, target: PatchTargets) -> float:
    labels, colours, depths, boxes = [], [], [], []
    for row in range(target.label.shape[0]):
        for patch in range(target.label.shape[1]):
            at = (row, patch)
            if int(target.label[at]) != IGNORE:
                logits = votes.label_logits[at].tolist()
                labels.append(logsumexp(logits) - logits[int(target.label[at])])
            if int(target.colour[at]) >= 0:
                logits = votes.colour_logits[at].tolist()
                colours.append(logsumexp(logits) - logits[int(target.colour[at])])
            if float(target.depth[at]) > 0:
                depths.append(abs(float(votes.log_depth[at]) - math.log(float(target.depth[at]))))
            if float(target.object_patch[at]):
                size, yaw = target.size[at].tolist(), float(target.own_yaw[at])
                scale = 0.3 + (size[0] + size[1]) / 2
                boxes.append(
                    min(l1(votes.own_center[at], target.own_center[at].tolist()) / scale, 20)
                    + 0.5 * min(l1(votes.center[at], target.center[at].tolist()) / scale, 20)
                    + l1(votes.log_size[at], [math.log(side) for side in size])
                    + l1(votes.own_front[at], unit(yaw)) * float(target.has_front[at])
                    + 0.5 * l1(votes.own_axis[at], unit(2 * yaw)) * float(target.oblong[at])
                )
    means = [sum(values) / max(len(values), 1) for values in (labels, colours, depths, boxes)]
    return means[0] + 0.5 * means[1] + 2 * means[2] + 0.5 * means[3]


@pytest.mark.parametrize("annotated", [True, False])
def test_voting_loss(annotated: bool) -> None:
    batch, patches = 2, 5
    target = random_patches(batch, patches)
    if not annotated:  # one scene of the batch
        target.label[1], target.colour[1], target.object_patch[1], target.depth[1] = IGNORE, -1, 0.0, 0.0
    widths = {"label_logits": LABELS + 1, "colour_logits": COLOURS, "center": 3, "own_center": 3, "log_size": 3}
    predicted = []
    for field in fields(VoteOutput):
        width = () if field.name == "log_depth" else (widths.get(field.name, 2),)
        predicted.append(randn(batch, patches, *width).requires_grad_())

    def loss(*values: Tensor) -> Tensor:
        votes = VoteOutput(*values)
        return voting_loss(votes, target) + patch_label_loss(votes, target)

    expected = reference_voting_loss(VoteOutput(*[value.detach() for value in predicted]), target)
    assert float(loss(*predicted).detach()) == pytest.approx(expected, rel=1e-9)
    assert gradcheck(loss, predicted)


# proposals


def random_boxes(count: int) -> BoxTargets:
    return BoxTargets(
        label=torch.randint(0, LABELS, (count,)),
        colour=torch.randint(-1, COLOURS, (count,)),
        center=randn(count, 3),
        size=torch.rand(count, 3, dtype=torch.float64) + 0.2,
        yaw=randn(count),
        has_front=torch.randint(0, 2, (count,)).double(),
        oblong=torch.randint(0, 2, (count,)).double(),
    )


def matching_cost(objects: ProposalOutput, row: int, slot: int, truth: BoxTargets, box: int) -> float:
    scale = 0.3 + float(truth.size[box, :2].mean())
    distance = float((objects.center[row, slot] - truth.center[box]).norm())
    return distance / scale - 2 * float(objects.label_logits[row, slot, truth.label[box]].sigmoid())


def best_match(objects: ProposalOutput, row: int, truth: BoxTargets) -> list[tuple[int, int]]:
    """Try every assignment of boxes to occupied slots."""
    slots = objects.present[row].nonzero().squeeze(-1).tolist()
    boxes = range(len(truth.label))
    tried = [list(zip(chosen, boxes, strict=True)) for chosen in permutations(slots, len(boxes))]
    return min(tried, key=lambda pairs: sum(matching_cost(objects, row, slot, truth, box) for slot, box in pairs))


def near_ignored(point: list[float], boxes: Tensor | None) -> bool:
    for *center, length, width, height, yaw in [] if boxes is None else boxes.tolist():
        x, y, z = (a - b for a, b in zip(point, center, strict=True))
        own = (math.cos(yaw) * x + math.sin(yaw) * y, math.cos(yaw) * y - math.sin(yaw) * x, z)
        if all(abs(a) <= side / 2 + 0.25 for a, side in zip(own, (length, width, height), strict=True)):
            return True
    return False


def reference_detection_loss(
    objects: ProposalOutput, truths: list[BoxTargets | None], ignored: list[Tensor | None]
) -> float:
    pairs = [
        (row, slot, truth, box)
        for row, truth in enumerate(truths)
        if truth is not None
        for slot, box in best_match(objects, row, truth)
    ]
    positive = {(row, slot): int(truth.label[box]) for row, slot, truth, box in pairs}
    focal = 0.0
    for row, truth in enumerate(truths):
        for slot in range(objects.present.shape[1]):
            if truth is None or not float(objects.present[row, slot]):
                continue
            if (row, slot) not in positive and near_ignored(objects.center[row, slot].tolist(), ignored[row]):
                continue
            for label in range(LABELS):
                is_true = positive.get((row, slot)) == label
                probability = float(objects.label_logits[row, slot, label].sigmoid())
                correct = probability if is_true else 1 - probability
                focal -= (0.4 if is_true else 0.6) * (1 - correct) ** 2 * math.log(correct)
    colours, boxes = [], 0.0
    for row, slot, truth, box in pairs:
        if int(truth.colour[box]) >= 0:
            logits = objects.colour_logits[row, slot].tolist()
            colours.append(logsumexp(logits) - logits[int(truth.colour[box])])
        yaw, size = float(truth.yaw[box]), truth.size[box].tolist()
        scale = 0.3 + (size[0] + size[1]) / 2
        boxes += min(l1(objects.center[row, slot], truth.center[box].tolist()) / scale, 20)
        boxes += l1(objects.log_size[row, slot], [math.log(side) for side in size])
        boxes += l1(objects.front[row, slot], unit(yaw)) * float(truth.has_front[box])
        boxes += 0.5 * l1(objects.axis[row, slot], unit(2 * yaw)) * float(truth.oblong[box])
    return focal / len(pairs) + 0.5 * sum(colours) / max(len(colours), 1) + boxes / len(pairs)


def test_detection_loss() -> None:
    batch, slots, views = 3, 4, 2
    truths: list[BoxTargets | None] = [random_boxes(2), None, random_boxes(3)]
    present = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]], dtype=torch.float64)
    widths = {"label_logits": LABELS, "colour_logits": COLOURS, "center": 3, "log_size": 3, "front": 2, "axis": 2}
    predicted = [randn(batch, slots, width).requires_grad_() for width in widths.values()]

    def objects_of(*values: Tensor) -> ProposalOutput:
        unused = {"features": randn(batch, slots, 5), "view_observations": randn(batch, slots, views, 4)}
        return ProposalOutput(present=present, **unused, **dict(zip(widths, values, strict=True)))

    objects = objects_of(*[value.detach() for value in predicted])
    for row, truth in enumerate(truths):
        if truth is not None:
            chosen, boxes = match_boxes(objects, row, truth)
            assert set(zip(chosen.tolist(), boxes.tolist(), strict=True)) == set(best_match(objects, row, truth))

    (unmatched,) = {0, 1, 3} - {slot for slot, _ in best_match(objects, 0, truths[0])}  # type: ignore[arg-type]
    place = objects.center[0, unmatched].clone()
    turned = torch.tensor([*(place + torch.tensor([0.9, 0.9, 0.0])), 2.4, 0.1, 0.1, math.pi / 4], dtype=torch.float64)
    everything = torch.tensor([[0.0, 0, 0, 99, 99, 99, 1.0]], dtype=torch.float64)
    losses = []
    for ignored in ([None] * 3, [turned[None], None, everything], [turned[None] - 5, everything, torch.zeros(0, 7)]):

        def loss(*values: Tensor, ignored: list[Tensor | None] = ignored) -> Tensor:
            return sum(detection_losses(objects_of(*values), truths, ignored), start=torch.zeros(()))

        # focal_loss has its two weights in float32
        losses.append(float(loss(*predicted).detach()))
        assert losses[-1] == pytest.approx(reference_detection_loss(objects, truths, ignored), rel=1e-7)
        assert gradcheck(loss, predicted)
    assert losses[1] < losses[0] == losses[2], "a slot on an ignored object is no false positive"
    unannotated = sum(detection_losses(objects, [None, None, None]))
    assert float(unannotated) == 0, "scenes without annotation have no false positives"
