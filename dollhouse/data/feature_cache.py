"""The frozen encoder's output for each sample: computed once by ``dollhouse annotate --features``, mapped in training.

``<folder>/<encoder>/entries/<hash of the photos>.safetensors`` holds the features of all views of a sample together,
since the encoder attends across them; ``<encoder>`` is a hash of the encoder's weights and settings.
``<folder>/<encoder>/<image size>-<source>/<thousands>/<index>.txt`` lists a sample of a recipe's data once its features
are there. Equal photos have one entry, whichever recipes and samples have them.

Axes: B batch, V views, S special tokens and P patches of a view, C width of the encoder's blocks, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dollhouse.errors import ModelError, RecipeError, StorageError
from dollhouse.models.checked_tensors import load_tensors, save_tensors
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.tensors import Tensors
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.modeling import VggtOutput
from dollhouse.system.atomic_io import write_text
from dollhouse.system.hashing import ContentDigest, canonical_json

FEATURES_VERSION = 1  #: raise it whenever the same weights and photos would give another output of the encoder
COMMAND = "run `dollhouse annotate --features RECIPE --out {}` with this recipe and its settings"
#: settings of an encoder that change nothing of its output, or no more than its weights do
_IRRELEVANT = {"licence", "views_at_once", "initializer_range", "layerscale_value", "heads", "image_size"}


@dataclass
class EncoderFeatures(Tensors):
    """What the trunk and the heads read of the encoder's output."""

    tokens: Tensor  #: (B, V, S+P, 2C) of the last round, bfloat16
    depth: Tensor | None  #: (B, V, H, W, 1), float32, where ``depth_from`` is "encoder"
    #: (B, V, ...) the embedded patches where the trunk has a shortcut; also their finer maps with ``depth_from`` "stem"
    embedded: list[Tensor]

    def output(self) -> VggtOutput:
        """Return the output of :meth:`DollhouseForConditionalGeneration.encode_photos`, in float32."""
        embedded = tuple(values.float().flatten(0, 1) for values in self.embedded) or None
        return VggtOutput(self.tokens.float(), embedded=embedded, depth=self.depth)


@torch.no_grad()
def encode_features(model: DollhouseForConditionalGeneration, pixel_values: Tensor) -> EncoderFeatures:
    """Run the encoder on photos (B, V, 3, H, W); of ``model`` only the encoder needs weights."""
    encoded = model.encode_photos(pixel_values)
    config, views = model.config, pixel_values.shape[:2]
    assert encoded.last_hidden_state is not None
    assert encoded.embedded is not None
    shared = len(encoded.embedded) if config.depth_from == "stem" else int(model.trunk.shortcut is not None)
    return EncoderFeatures(
        encoded.last_hidden_state.to(torch.bfloat16),
        model.encoder.predict_depth(encoded)[0].float() if config.depth_from == "encoder" else None,
        [values.to(torch.bfloat16).unflatten(0, views) for values in encoded.embedded[:shared]],
    )


def weights_hash(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return 16 hex digits of named weights in any order, which may be read from a file one after the other."""
    rows = []
    for name, value in tensors:
        digest = ContentDigest()
        digest.add_array(name, value.detach().cpu().float().numpy())
        rows.append(digest.hexdigest())
    return sha256("".join(sorted(rows)).encode()).hexdigest()[:16]


def encoder_key(config: DollhouseConfig, weights: str) -> str:
    """Return 16 hex digits of a student's encoder, its weights' hash, and which of its outputs the student reads."""
    vision = config.get_vision_config()
    settings = {name: getattr(vision, name) for name in VggtConfig.__annotations__ if name not in _IRRELEVANT}
    text = canonical_json([FEATURES_VERSION, weights, settings, config.depth_from])
    return sha256(text.encode()).hexdigest()[:16]


class FeatureCache:
    """The features of the samples of one source, for one encoder.

    Args:
        encoder: of :func:`encoder_key`.
        size: of the longer side of photos, pixels.
        source: hash of what decides which photos the samples have.
    """

    def __init__(self, folder: Path, encoder: str, size: int, source: str) -> None:
        self.folder, self.encoder, self.size = folder, encoder, size
        self.samples = folder / encoder / f"{size}-{source}"

    def missing(self, count: int) -> list[int]:
        """Return which of the samples 0 to ``count`` - 1 are not listed."""
        listed = {path.name for folder in self.samples.glob("[0-9]*") for path in folder.iterdir()}
        return [index for index in range(count) if f"{index}.txt" not in listed]

    def require(self, count: int) -> None:
        """Raise RecipeError where a sample is not listed, saying what the cache holds instead."""
        missing = len(self.missing(count))
        if not missing:
            return
        if missing < count:
            held = f"holds the features of {count - missing} of {count} samples"
        elif not self.samples.parent.is_dir():
            others = any(path.is_dir() for path in self.folder.glob("?" * 16))
            held = "holds features of another encoder or of other weights" if others else "holds no features"
        else:
            sizes = {int(path.name.split("-")[0]) for path in self.samples.parent.glob("*-*")}
            of_size = f"photos of {', '.join(map(str, sorted(sizes)))} pixels, not {self.size}"
            held = f"holds features of {'other samples' if self.size in sizes else of_size}"
        raise RecipeError(f"data.feature_cache: {self.folder} {held}: {COMMAND.format(self.folder)}")

    def holds(self, images: NDArray[np.uint8]) -> bool:
        """Return whether there is an entry for photos (V, H, W, 3)."""
        return self._entry(images).exists()

    def add(self, index: int, images: NDArray[np.uint8], features: EncoderFeatures | None) -> None:
        """Store the features (a batch of 1) of photos (None: they are there), and list the sample.

        Raises StorageError where the disk is full.
        """
        entry = self._entry(images)
        if features is not None:
            tensors = {f"embedded.{number}": values for number, values in enumerate(features.embedded)}
            tensors["tokens"] = features.tokens
            if features.depth is not None:
                tensors["depth"] = features.depth
            save_tensors(tensors, entry)
        write_text(self.samples / f"{index // 1000:04d}" / f"{index}.txt", f"{entry.stem}\n")

    def read(self, name: str, images: NDArray[np.uint8]) -> EncoderFeatures:
        """Map the features (a batch of 1) of photos of a scene called ``name``, and compare their digest.

        Raises StorageError where they are damaged, or missing because the scene has other photos now.
        """
        entry = self._entry(images)
        try:
            tensors = load_tensors(entry)
        except FileNotFoundError:
            raise StorageError(
                f"data.feature_cache: {self.folder} has no features of the photos of scene {name}: they were "
                f"changed, or the entry was deleted; delete {self.samples} and {COMMAND.format(self.folder)}"
            ) from None
        except ModelError as error:
            raise StorageError(f"{error}; delete it and {self.samples}, and {COMMAND.format(self.folder)}") from error
        embedded = [tensors[name] for name in sorted(tensors) if name.startswith("embedded.")]
        return EncoderFeatures(tensors["tokens"], tensors.get("depth"), embedded)

    def _entry(self, images: NDArray[np.uint8]) -> Path:
        digest = ContentDigest()
        digest.add_array("images", images)
        name = digest.hexdigest()[:32]
        return self.folder / self.encoder / "entries" / name[:2] / f"{name}.safetensors"
