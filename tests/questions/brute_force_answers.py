"""Answers computed one pair of boxes at a time, to compare with the package's own."""

import re

import numpy as np

from dollhouse.questions.generate import Question
from dollhouse.questions.referring import plural
from dollhouse.scenes.scene import Box, Scene
from tests.questions.fixture_boxes import SIZE


class BruteForceAnswers:
    """Answers computed from the boxes without the package's relations."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.boxes = {box.id: box for box in scene.boxes or ()}

    def gap(self, a: Box, b: Box) -> float:
        """Compute the least distance between grid points of the two boxes."""
        steps = np.linspace(-0.5, 0.5, 7)
        grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
        points = []
        for box in (a, b):
            turn = np.array([[np.cos(box.yaw), -np.sin(box.yaw), 0], [np.sin(box.yaw), np.cos(box.yaw), 0], [0, 0, 1]])
            points.append(grid * box.size @ turn.T + box.center)
        return float(np.linalg.norm(points[0][:, None] - points[1][None], axis=-1).min())

    def wins(self, comparison: str, a: Box, b: Box, question: Question) -> bool:
        view = self.scene.views[question.view] if question.view is not None else None
        if comparison == "larger":
            return a.size[0] * a.size[1] * a.size[2] > b.size[0] * b.size[1] * b.size[2]
        if comparison == "taller":
            return a.size[2] > b.size[2]
        if comparison == "longer":
            return max(a.size[:2]) > max(b.size[:2])
        if comparison == "nearer":
            anchor = self.boxes[question.objects[2]]
            return np.linalg.norm(a.center - anchor.center) < np.linalg.norm(b.center - anchor.center)
        assert view is not None
        if comparison == "left":
            columns = [np.argwhere(view.instances == box.id)[:, 1].mean() for box in (a, b)]
            return columns[0] < columns[1]
        forward, eye = view.world_from_camera[:3, 2], view.world_from_camera[:3, 3]
        return (a.center - eye) @ forward < (b.center - eye) @ forward

    def faces(self, box: Box, point: np.ndarray) -> bool:
        direction = (point - box.center)[:2]
        return bool(direction @ [np.cos(box.yaw), np.sin(box.yaw)] > np.linalg.norm(direction) * np.cos(np.deg2rad(50)))

    def answer(self, question: Question) -> str | None:
        """Return the answer, or None where it is undefined."""
        boxes = [self.boxes[id] for id in question.objects]
        text, form = question.text, question.form
        for opposite, what in (("smaller", "larger"), ("shorter", "taller"), ("farther", "nearer")):
            text = text.replace(opposite, "not " + what)
        comparisons = {
            "size.larger": "larger", "size.is_larger": "larger", "size.taller": "taller", "size.is_taller": "taller",
            "size.longer": "longer", "size.is_longer": "longer", "proximity.nearer": "nearer",
            "proximity.is_nearer": "nearer", "orientation.left_right": "left", "orientation.leftmost": "left",
            "orientation.front_behind": "closer", "orientation.closer": "closer",
        }  # fmt: skip
        if form in comparisons:
            first = self.wins(comparisons[form], boxes[0], boxes[1], question)
            if " not " in text or ("further" in text and "further left" not in text):
                first = not first
            if form.partition(".")[2].startswith("is_"):
                return "yes" if first else "no"
            if form == "orientation.left_right":
                return "left" if first else "right"
            if form == "orientation.front_behind":
                return "in front" if first else "behind"
            # Objects are listed in the order in which the text names them.
            return sorted(question.choices, key=question.text.index)[0 if first else 1]
        if form == "proximity.near":
            return "yes" if self.gap(*boxes) < 1.2 else "no"
        if form == "contact.touching":
            return "yes" if self.gap(*boxes) < 0.08 else None if self.gap(*boxes) < 0.4 else "no"
        if form in ("contact.stands_on", "contact.either", "contact.floor", "contact.on"):
            on_floor = abs(boxes[0].bottom) < 1e-6
            below = [
                other
                for other in self.boxes.values()
                if other is not boxes[0] and abs(other.top - boxes[0].bottom) < 1e-6
                and np.linalg.norm(other.center[:2] - boxes[0].center[:2]) < 0.5
            ]  # fmt: skip
            if form == "contact.floor":
                return "yes" if on_floor else "no"
            if form == "contact.on":
                return "yes" if any(other is boxes[1] for other in below) else "no"
            return "the floor" if on_floor else f"the {below[0].label}"
        if form == "orientation.facing":
            return "yes" if self.faces(boxes[0], boxes[1].center) else "no"
        if form == "orientation.faces_camera":
            return "yes" if self.faces(boxes[0], self.scene.views[question.view].world_from_camera[:3, 3]) else "no"
        if form == "counting.label":
            return str(sum(plural(box.label) in question.text for box in self.boxes.values()))
        if form.startswith("existence"):
            present = any(re.search(rf"\b(an?|{box.colour}) {box.label}\b", text) and
                        (form == "existence.label" or f"{box.colour} {box.label}" in text)
                        for box in self.boxes.values())  # fmt: skip
            return "yes" if present else "no"
        if form == "distance.between":
            return f"{round(np.linalg.norm(boxes[0].center - boxes[1].center) * 2) / 2:.1f} m"
        if form == "distance.camera":
            eye = self.scene.views[question.view].world_from_camera[:3, 3]
            return f"{round(np.linalg.norm(boxes[0].center - eye) * 2) / 2:.1f} m"
        if form == "attribute.colour":
            return boxes[0].colour
        counts = [(view.instances == boxes[0].id).sum() for view in self.scene.views] if boxes else []
        if form == "attribute.best_view":
            return f"view {int(np.argmax(counts)) + 1}"
        if form == "attribute.where":
            column = np.argwhere(self.scene.views[question.view].instances == boxes[0].id)[:, 1].mean()
            return ("left", "middle", "right")[int(column // (SIZE / 3))]
        return None
