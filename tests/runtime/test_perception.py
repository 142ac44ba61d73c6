"""The NumPy steps between the graphs, against the torch path."""

from __future__ import annotations

import numpy as np
import torch

from dollhouse.models.dollhouse.heads import Cameras
from dollhouse.models.dollhouse.pose_refinement import refine_cameras
from dollhouse.models.dollhouse.voting_head import VotingHead, cluster_votes
from dollhouse.runtime.perception import ViewCameras, cluster, register, softmax, split_votes

ROWS, COLUMNS, LABELS, COLOURS = 4, 6, 5, 3


def test_votes_registration_and_clusters_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(3)
    for views in (1, 3):
        head = VotingHead(8, LABELS, COLOURS)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator))
        patches = torch.randn(1, views, ROWS * COLUMNS, 8, generator=generator)
        up = torch.nn.functional.normalize(
            torch.tensor([0.0, -1.0, 0.0]) + 0.2 * torch.randn(1, views, 3, generator=generator), dim=-1
        )
        angle = 0.5 * torch.arange(views).float()[None]
        heading = torch.stack([angle.cos(), angle.sin()], -1)
        position = torch.randn(1, views, 3, generator=generator)
        cameras = Cameras(up, heading, position, 0.6 + 0.1 * torch.rand(1, views, generator=generator))
        offset = 0.1 * torch.randn(1, views, generator=generator)
        with torch.no_grad():
            votes = head(patches, cameras, ROWS, COLUMNS, depth_offset=offset)
            fields = head.mlp(patches)
            moved = refine_cameras(votes, cameras)
            expected = votes.with_cameras(moved)
            groups = cluster_votes(expected, 6)

        own = ViewCameras(*(value[0].numpy() for value in (up, heading, position, cameras.focal)))
        found = split_votes(fields[0].numpy(), own, ROWS, COLUMNS, COLOURS, offset[0].numpy())
        registered = register(found, own)
        inputs = found.in_first_frame(registered)
        np.testing.assert_allclose(own.level_from_camera, cameras.level_from_camera[0], atol=1e-6)
        np.testing.assert_allclose(registered.position, moved.position[0], atol=1e-4)
        np.testing.assert_allclose(registered.heading, moved.heading[0], atol=1e-4)
        for name, value in inputs.items():
            np.testing.assert_allclose(value, getattr(expected, name), atol=2e-4, err_msg=name)
        labels, colours = softmax(found.label_logits), softmax(found.colour_logits)
        again = cluster(labels, colours, found.log_size, inputs["center"][0], 6)
        assert groups.sum() > 0
        np.testing.assert_array_equal(again, groups[0].numpy())


def test_blocks_do_not_change_clusters(monkeypatch) -> None:
    generator = np.random.default_rng(0)
    labels, colours = (softmax(3 * generator.normal(size=(90, n)).astype(np.float32)) for n in (6, 3))
    sizes, centers = (generator.normal(size=(90, 3)).astype(np.float32) for _ in range(2))
    whole = cluster(labels, colours, sizes, centers, 5)
    monkeypatch.setattr("dollhouse.runtime.perception.BLOCK", 1)
    np.testing.assert_array_equal(cluster(labels, colours, sizes, centers, 5), whole)
