"""Targets: patches, cameras and boxes agree with each other and with the room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dollhouse.data.collator import Batch, collate_batch
from dollhouse.data.target_cache import pack, unpack
from dollhouse.data.targets import BACKGROUND, IGNORED, SceneTargets, scene_targets
from dollhouse.data.view_transforms import flip_horizontally
from dollhouse.geometry import inside_box
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.heads import Cameras
from dollhouse.models.dollhouse.proposal_head import ProposalOutput
from dollhouse.models.dollhouse.voting_head import VoteOutput, cluster_votes
from dollhouse.models.tensors import IGNORE
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.training.losses.camera import camera_loss
from dollhouse.training.losses.detection import detection_losses
from dollhouse.training.losses.voting import patch_label_loss, voting_loss

ROOMS = (3, 11, 25)


def targets_of(number: int) -> SceneTargets:
    return scene_targets(room_scene("train", number), 126, CATEGORIES, list(COLOURS))


def config() -> DollhouseConfig:
    return DollhouseConfig(num_objects=16, labels=CATEGORIES, colours=list(COLOURS), pad_token_id=0)


def batch_of(scenes: list[SceneTargets]) -> Batch:
    return collate_batch(scenes, [[] for _ in scenes], config())


def true_cameras(batch: Batch) -> Cameras:
    ahead = torch.nn.functional.normalize(batch.level_from_camera[..., :2, 2], dim=-1)
    return Cameras(
        up=batch.up,
        heading=torch.stack([ahead[..., 1], -ahead[..., 0]], -1),
        position=batch.level_from_camera[..., :3, 3],
        focal=batch.focal,
    )


def true_votes(batch: Batch) -> VoteOutput:
    """Return votes equal to the targets."""
    patches = batch.patches
    labels = torch.nn.functional.one_hot(patches.label, len(CATEGORIES) + 1).float() * 40
    colours = torch.nn.functional.one_hot(patches.colour.clamp(min=0), len(COLOURS)).float() * 40
    angle, double = patches.own_yaw, 2 * patches.own_yaw
    front, axis = torch.stack([angle.cos(), angle.sin()], -1), torch.stack([double.cos(), double.sin()], -1)
    return VoteOutput(
        label_logits=labels,
        colour_logits=colours,
        log_depth=patches.depth.clamp(min=1e-3).log(),
        center=patches.center,
        own_center=patches.own_center,
        log_size=patches.size.log(),
        own_front=front,
        own_axis=axis,
        front=front,
        axis=axis,
    )


@pytest.mark.parametrize("flip", [False, True])
def test_cameras_reproduce_the_target_poses(flip: bool) -> None:
    """Up, heading and position reproduce the poses, without camera loss; own frames turn into the first."""
    scenes = [targets_of(number) for number in ROOMS]
    batch = batch_of([flip_horizontally(scene) for scene in scenes] if flip else scenes)
    cameras = true_cameras(batch)
    torch.testing.assert_close(cameras.level_from_camera, batch.level_from_camera, atol=1e-4, rtol=0)
    targets = (batch.level_from_camera, batch.up, batch.focal, batch.posed, batch.metric)
    assert float(camera_loss(cameras, *targets)) < 1e-4
    turned = cameras.level_from_own_level.repeat_interleave(81, 1) @ batch.patches.own_center.unsqueeze(-1)
    moved = turned.squeeze(-1) + cameras.position.repeat_interleave(81, 1)
    shown = batch.patches.object_patch > 0
    torch.testing.assert_close(moved[shown], batch.patches.center[shown], atol=1e-4, rtol=0)


@pytest.mark.parametrize("flip", [False, True])
def test_patch_points_lie_in_their_boxes(flip: bool) -> None:
    """The back-projected patch lies in its box, or up to a patch's width beside it."""
    for number in ROOMS:
        scene = flip_horizontally(targets_of(number)) if flip else targets_of(number)
        batch = batch_of([scene])
        cameras = true_cameras(batch)
        rays = cameras.patch_rays(9, 9) * batch.patches.depth.view(1, 4, 81, 1)
        points = (rays @ cameras.own_level_from_camera.transpose(-1, -2)).flatten(1, 2)
        points = points @ torch.eye(3) - batch.patches.own_center  # from the box's centre, in the view's level frame
        inside = []
        for patch in (batch.patches.object_patch[0] > 0).nonzero().squeeze(-1):
            size, yaw = batch.patches.size[0, patch].numpy(), float(batch.patches.own_yaw[0, patch])
            inside.append(inside_box(points[0, patch].numpy(), np.zeros(3), size, yaw, margin=0.3))
        assert np.mean(inside) > 0.95


def test_exact_votes_cluster_into_the_true_objects() -> None:
    batch = batch_of([targets_of(number) for number in ROOMS])
    patch_assignment = cluster_votes(true_votes(batch), 16)
    assert (
        float(voting_loss(true_votes(batch), batch.patches) + patch_label_loss(true_votes(batch), batch.patches)) < 1e-3
    )
    for row, truth in enumerate(batch.boxes):
        assert truth is not None
        occupied = patch_assignment[row].sum(0) > 0
        assert int(occupied.sum()) == len(truth.label)
        groups = {tuple(patch_assignment[row][:, slot].tolist()) for slot in range(16) if occupied[slot]}
        objects = {tuple(batch.patch_assignment[row][:, k].tolist()) for k in range(len(truth.label))}
        assert groups == objects, "each group is one object's patches"


def test_exact_objects_have_no_detection_loss() -> None:
    batch = batch_of([targets_of(number) for number in ROOMS])
    objects = ProposalOutput(
        features=torch.zeros(3, 16, 4),
        present=torch.zeros(3, 16),
        label_logits=torch.full((3, 16, len(CATEGORIES)), -20.0),
        colour_logits=torch.full((3, 16, len(COLOURS)), -20.0),
        center=torch.zeros(3, 16, 3),
        log_size=torch.zeros(3, 16, 3),
        front=torch.zeros(3, 16, 2),
        axis=torch.zeros(3, 16, 2),
        view_observations=torch.zeros(3, 16, 4, 4),
    )
    for row, truth in enumerate(batch.boxes):
        assert truth is not None
        for k in range(len(truth.label)):
            slot = 15 - k  # in another order than the true boxes
            objects.present[row, slot] = 1
            objects.label_logits[row, slot, truth.label[k]] = 20
            objects.colour_logits[row, slot, truth.colour[k]] = 20
            objects.center[row, slot], objects.log_size[row, slot] = truth.center[k], truth.size[k].log()
            objects.front[row, slot] = torch.stack([truth.yaw[k].cos(), truth.yaw[k].sin()])
            objects.axis[row, slot] = torch.stack([(2 * truth.yaw[k]).cos(), (2 * truth.yaw[k]).sin()])
    assert float(sum(detection_losses(objects, batch.boxes))) < 1e-3
    objects.center += 0.5
    assert float(sum(detection_losses(objects, batch.boxes))) > 0.5
    assert float(sum(detection_losses(objects, [None, None, None]))) == 0.0


def test_missing_annotations_give_no_targets() -> None:
    """Photos without depth, poses and boxes have no targets of them."""
    scene = room_scene("train", 3)
    bare = [type(view)(view.name, view.open_image) for view in scene.views]
    targets = scene_targets(type(scene)("bare", tuple(bare)), 126, CATEGORIES, list(COLOURS))
    assert targets.depth is None
    assert targets.level_from_camera is None
    assert targets.objects is None
    batch = batch_of([targets])
    assert not bool((batch.depth > 0).any())
    assert not bool(batch.posed.any())
    assert bool((batch.patches.label == IGNORE).all())
    assert batch.boxes == [None]


def relabelled(number: int, label: str, to: str) -> SceneTargets:
    """Return the targets of a room in which objects with ``label`` have another name."""
    room = room_scene("train", number)
    boxes = tuple(replace(box, label=to) if box.label == label else box for box in room.boxes or ())
    return scene_targets(replace(room, boxes=boxes), 126, CATEGORIES, list(COLOURS))


def test_objects_without_a_label_are_ignored_not_background() -> None:
    plain = targets_of(3).objects
    assert plain is not None
    most = int(np.bincount(plain.patch_object[plain.patch_object >= 0]).argmax())
    label = CATEGORIES[int(plain.label[most])]
    gone = plain.label == plain.label[most]
    ignored, synonym, wall = (relabelled(3, label, name).objects for name in ("whiteboard", label.upper(), "walls"))
    assert ignored is not None
    assert synonym is not None
    assert wall is not None
    np.testing.assert_array_equal(synonym.patch_object, plain.patch_object)
    np.testing.assert_array_equal(ignored.label, plain.label[~gone])
    was = np.isin(plain.patch_object, np.flatnonzero(gone))
    assert (ignored.patch_object[was] != BACKGROUND).mean() > 0.9, "small parts of a patch need not count"
    assert (ignored.patch_object == IGNORED).sum() > 3
    assert not (ignored.patch_object[plain.patch_object == BACKGROUND] >= 0).any()
    np.testing.assert_allclose(ignored.ignored_boxes[:, :3], plain.center[gone], atol=1e-6)
    np.testing.assert_allclose(ignored.ignored_boxes[:, 6], plain.yaw[gone], atol=1e-6)
    assert (wall.patch_object >= BACKGROUND).all(), "parts of the building are background"
    assert len(wall.ignored_boxes) == len(plain.ignored_boxes) == 0
    known = ignored.patch_object == IGNORED
    np.testing.assert_allclose(ignored.patch_depth[known & was], plain.patch_depth[known & was], rtol=0.2)


def test_ignored_patches_carry_no_label_loss() -> None:
    plain = targets_of(3).objects
    assert plain is not None
    scene = relabelled(3, CATEGORIES[int(plain.label[0])], "whiteboard")
    assert scene.objects is not None
    batch = batch_of([scene, flip_horizontally(scene)])
    ignored = torch.from_numpy(scene.objects.patch_object.reshape(-1) == IGNORED)
    assert int(ignored.sum()) > 0
    assert torch.equal(batch.patches.label[0] == IGNORE, ignored)
    assert torch.equal(batch.patches.object_patch[0] > 0, torch.from_numpy(scene.objects.patch_object.reshape(-1) >= 0))
    assert float(batch.patch_assignment[0, ignored].sum()) == 0
    first, second = batch.ignored_boxes
    assert first is not None
    assert second is not None
    assert torch.equal(first[:, :1], -second[:, :1])
    assert torch.equal(first[:, 1:6], second[:, 1:6])
    torch.testing.assert_close(first[:, 6], torch.pi - second[:, 6])
    stored = unpack(pack(scene)).objects
    assert stored is not None
    np.testing.assert_array_equal(stored.ignored_boxes, scene.objects.ignored_boxes)
    np.testing.assert_array_equal(stored.patch_object, scene.objects.patch_object)
