"""One row of many questions beside a prompt for each, read-outs beside a slow reference, and that learning helps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from dollhouse.distill.batches import IGNORE, BoxTargets
from dollhouse.distill.nano_teacher.learner import pack, posed_views
from dollhouse.distill.nano_teacher.readouts import VoxelReadout
from dollhouse.teachers.llava3d.splice import IMAGE_TOKEN
from tests.distill.nano_teacher.made import Pieces, pieces


def test_questions_in_one_row_are_as_alone(tmp_path: Path) -> None:
    made = pieces(tmp_path, torch.float64)
    batch = made.posed()[0]
    views = posed_views(batch)
    model = made.learner.model
    tokens = model.scene_tokens(model.get_scene_features(views))
    questions = pack(batch)
    told = model.language_model.lm_head(made.learner.read(tokens, questions)[-1])
    for number in range(int(questions.owner.max()) + 1):
        ids = questions.ids[questions.owner == number]
        prompt = torch.cat([made.learner.head, torch.tensor([IMAGE_TOKEN]), ids])
        alone = model(model.embed(prompt[None], [views])).logits[0, -len(ids) :]
        torch.testing.assert_close(told[questions.owner == number], alone, atol=1e-6, rtol=0)  # softmax in float32


def test_packing_keeps_every_mention_at_its_word(made: Pieces) -> None:
    batch = made.posed()[1]
    questions = pack(batch)
    rows = batch.question_ids[0]
    before, after = batch.mentions[0], questions.mentions
    assert len(before.names) > 2
    assert len(before.pairs) > 0
    for one, other in ((before.names, after.names), (before.pairs, after.pairs)):
        assert torch.equal(rows[one[:, 0], one[:, 1]], questions.ids[other[:, 1]])
        assert torch.equal(one[:, 0], questions.owner[other[:, 1]])
        assert torch.equal(one[:, 2:], other[:, 2:])
        assert not other[:, 0].any()
    kept = batch.question_labels[0][batch.question_labels[0] != IGNORE]
    assert torch.equal(questions.labels[questions.labels != IGNORE], kept)


def voxels() -> tuple[VoxelReadout, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    readout = VoxelReadout(12).double()
    given = {
        "tokens": torch.randn(5, 12).double(),
        "labels": torch.randn(4, 12).double(),
        "colours": torch.randn(3, 12).double(),
        "voxel_of_patch": torch.tensor([0, 1, 1, 2, 3, 4, 4]),
        "points": torch.randn(5, 3).double(),
        "member": F.one_hot(torch.tensor([0, 1, 1, 0, 1, 0, 0]), 2).double(),
    }
    given["member"][5:] = 0  # floor
    return readout, given


def boxes(count: int) -> BoxTargets:
    return BoxTargets(
        label=torch.tensor([2, 0])[:count],
        colour=torch.tensor([1, -1])[:count],
        center=torch.tensor([[0.1, 1.0, 0.5], [2.0, 3.0, 0.4]]).double()[:count],
        size=torch.tensor([[0.5, 0.6, 1.0], [2.0, 1.0, 0.5]]).double()[:count],
        yaw=torch.tensor([0.3, 2.0]).double()[:count],
        has_front=torch.tensor([1.0, 0.0]).double()[:count],
        oblong=torch.ones(2).double()[:count],
    )


def test_readout_beside_its_definition() -> None:
    readout, given = voxels()
    truth = boxes(2)
    loss = readout.loss(
        given["tokens"],
        (given["labels"], given["colours"]),
        given["voxel_of_patch"],
        given["points"],
        given["member"],
        truth,
    )
    labels, colours, (center, log_size, front, place) = readout(given["tokens"], given["labels"], given["colours"])
    named, hues, measured = [], [], []
    for voxel, box in zip(given["voxel_of_patch"].tolist(), [0, 1, 1, 0, 1, None, None], strict=True):
        named.append(-labels[voxel].log_softmax(-1)[4 if box is None else int(truth.label[box])])
        if box is None:
            continue
        if truth.colour[box] >= 0:
            hues.append(-colours[voxel].log_softmax(-1)[truth.colour[box]])
        forgiving = 0.3 + (truth.size[box, 0] + truth.size[box, 1]) / 2
        error = (center[voxel] - truth.center[box]).abs().sum() / forgiving
        error = error + (log_size[voxel] - truth.size[box].log()).abs().sum()
        facing = torch.stack([truth.yaw[box].cos(), truth.yaw[box].sin()])
        measured.append(error + 0.5 * truth.has_front[box] * (front[voxel] - facing).abs().sum())
    own = (place - given["points"]).abs().sum(1).mean()
    both = torch.stack([torch.stack(named[:5]).mean(), torch.stack(named[5:]).mean()]).mean()  # objects, background
    expected = both + 0.5 * torch.stack(hues).mean() + 0.5 * torch.stack(measured).mean() + own
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)  # measures are read in float32


@pytest.mark.parametrize("count", [0, 2])
def test_a_room_that_shows_nothing_is_all_background(count: int) -> None:
    readout, given = voxels()
    member = torch.zeros(7, 2).double()
    words = (given["labels"], given["colours"])
    loss = readout.loss(given["tokens"], words, given["voxel_of_patch"], given["points"], member, boxes(count))
    labels, _, (_, _, _, place) = readout(given["tokens"], *words)
    named = -labels.log_softmax(-1)[given["voxel_of_patch"], 4].mean()
    torch.testing.assert_close(loss, named + (place - given["points"]).abs().sum(1).mean(), atol=1e-5, rtol=0)


def test_every_loss_reaches_what_it_should_teach(made: Pieces) -> None:
    learner = made.learner
    parts = learner(made.posed()[0])
    assert {"loss", "votes", "text", "grounding"} == parts.keys()
    assert all(bool(torch.isfinite(value)) for value in parts.values())
    parts["loss"].backward()
    reached = {
        name.split(".")[1] for name, one in learner.named_parameters() if one.grad is not None and one.grad.any()
    }
    assert {"vision_tower", "scene_position", "multi_modal_projector", "language_model"} <= reached
    learner.zero_grad()


def test_stepping_on_one_room_teaches_it(tmp_path: Path) -> None:
    made = pieces(tmp_path)
    batch = made.posed()[0]
    optimizer = torch.optim.AdamW(made.learner.parameters(), lr=5e-3)
    told = []
    for _ in range(40):
        parts = made.learner(batch)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        told.append({name: float(value.detach()) for name, value in parts.items()})
    for name in ("votes", "text", "grounding"):
        assert told[-1][name] < 0.5 * told[0][name], name
