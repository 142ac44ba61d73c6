"""Count the objects of a data set that have none of the student's labels and so are ignored in the losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dollhouse.data.target_source import TargetSource
from dollhouse.scenes.labels import LabelMap, clean_label, is_building, list_counts
from dollhouse.scenes.scene import spaced_indices
from dollhouse.scenes.synthetic.furniture import CATEGORIES

MAX_SAMPLES = 100  #: of a data set whose objects are counted, spread over it


@dataclass(frozen=True)
class LabelCounts:
    """Numbers of objects; parts of the building do not count."""

    scenes: int
    objects: int
    ignored: Counter[str]  #: by name

    def __str__(self) -> str:
        """Return one line: "ignored labels: 31 of 412 objects in 6 scenes: whiteboard (12), rack (3)"."""
        total = f"{self.ignored.total()} of {self.objects} objects in {self.scenes} scenes"
        return f"ignored labels: {total}: {list_counts(self.ignored)}"


def count_labels(source: TargetSource, labels: Sequence[str]) -> LabelCounts:
    """Count the annotated objects of at most :data:`MAX_SAMPLES` samples, each scene once, and those without a label.

    Rooms of which every category has a label are not opened.
    """
    mapping, names, objects, ignored = LabelMap(labels), set(), 0, Counter[str]()
    complete = all(mapping.map(category) for category in CATEGORIES)
    if source.data.records is None and source.data.scenes.startswith("rooms:") and complete:
        return LabelCounts(0, 0, ignored)
    for index in spaced_indices(len(source), MAX_SAMPLES):
        scene = source.view_window(index)
        if scene.boxes is None or scene.name in names:
            continue
        names.add(scene.name)
        counted = [box.label for box in scene.boxes if not is_building(box.label)]
        objects += len(counted)
        ignored.update(clean_label(label) or label for label in counted if mapping.map(label) is None)
    return LabelCounts(len(names), objects, ignored)
