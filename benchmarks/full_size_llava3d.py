"""Write LLaVA-3D with random weights in the official layout, load it, and answer one question.

    python benchmarks/full_size_llava3d.py --size full --scene PATH/TO/A/POSED/SCENE

The answer is noise; the path is real: sharded ``.bin`` files with an index, ``config.json``, tokenizer, posed RGB-D,
3D patches, greedy decoding. Full size needs 15 GB of disk and 16.6 GB of memory (measured). The question is answered
in a process of its own, so that the printed peak of memory is that of loading and answering.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CLIPVisionConfig, LlamaConfig

from dollhouse.models.llava3d.configuration import CLIP_LARGE, EXPECTED, LLAMA_KEYS, Llava3DConfig
from dollhouse.models.llava3d.modeling import Llava3DForConditionalGeneration
from dollhouse.models.llava3d.weights import official_name
from dollhouse.questions.generate import Question
from dollhouse.scenes.open import open_scene
from dollhouse.teachers.llava3d import LLaVA3DSettings, LLaVA3DTeacher
from dollhouse.training.estimate.memory import peak_resident_bytes

SHARD = 2 << 30  #: bytes


def config_of(size: str) -> Llava3DConfig:
    """Return the released sizes ("full"), or small ones ("tiny")."""
    if size == "full":
        return Llava3DConfig()
    return Llava3DConfig(
        text=LlamaConfig(
            vocab_size=400,
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=1024,
            rms_norm_eps=1e-5,
        ),
        vision=CLIPVisionConfig(
            **CLIP_LARGE
            | {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
            | {"image_size": 56}
        ),
    )


def write_checkpoint(folder: Path, config: Llava3DConfig, dtype: torch.dtype, shard: int = SHARD, seed: int = 0) -> int:
    """Write a random checkpoint, one shard in memory at a time; returns the size of its weights in bytes."""
    torch.manual_seed(seed)
    with torch.device("meta"):
        shapes = {
            official_name(name): tensor.shape
            for name, tensor in Llava3DForConditionalGeneration(config).state_dict().items()
        }
    groups = list(_groups(shapes, shard, dtype.itemsize))
    places: dict[str, str] = {}
    for number, names in enumerate(groups, 1):
        file = f"pytorch_model-{number:05d}-of-{len(groups):05d}.bin"
        torch.save({name: random_weight(name, shapes[name], dtype) for name in names}, folder / file)
        places |= dict.fromkeys(names, file)
    total = sum(shape.numel() for shape in shapes.values()) * dtype.itemsize
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(official_settings(config)))
    write_tokenizer(folder, config.text.vocab_size)
    return total


def official_settings(config: Llava3DConfig) -> dict[str, Any]:
    """Return ``config.json`` in the official layout, with ``vision_config``, which a small model needs."""
    text = config.text.to_dict()
    return {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava_llama",
        **{key: text[key] for key in LLAMA_KEYS if text.get(key) is not None},
        "rope_theta": config.text.rope_parameters["rope_theta"],
        **EXPECTED,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_hidden_size": config.vision.hidden_size,
        "vision_config": {key: getattr(config.vision, key) for key in CLIP_LARGE},
    }


def write_tokenizer(folder: Path, size: int) -> None:
    """Write a byte-fallback tokenizer in the layout of LLaMA's, with a piece for each letter and unused ones."""
    space = "\u2581"
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), space, *map(chr, range(33, 127))]
    pieces += [f"{space}{space}{number}" for number in range(size - len(pieces))]  # occur in no text
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(space, prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = special | {"tokenizer_class": "LlamaTokenizer", "legacy": False, "model_max_length": 4096}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def random_weight(name: str, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """Draw small numbers; norms near one, so that activations stay finite through all layers."""
    weight = torch.empty(shape, dtype=dtype).normal_(0.0, 0.02)
    return weight + 1 if "norm" in name and name.endswith("weight") else weight


def _groups(shapes: dict[str, torch.Size], limit: int, itemsize: int) -> Iterator[list[str]]:
    group: list[str] = []
    held = 0
    for name, shape in shapes.items():
        size = shape.numel() * itemsize
        if group and held + size > limit:
            yield group
            group, held = [], 0
        group.append(name)
        held += size
    yield group


def answer(folder: Path, scene_path: str, question: str, max_new_tokens: int, dtype: Any) -> None:
    """Load, encode the scene and answer; print seconds and peak memory."""
    start = time.perf_counter()
    teacher = LLaVA3DTeacher.from_official(folder, LLaVA3DSettings(max_new_tokens=max_new_tokens, dtype=dtype))
    size = sum(parameter.nbytes for parameter in teacher.model.parameters())
    print(f"loaded     {size / 1e9:6.2f} GB on {teacher.model.device} in {time.perf_counter() - start:.1f} s")
    print(f"peak RSS   {peak_resident_bytes() / 1e9:6.2f} GB after loading")
    scene = open_scene(scene_path)
    start = time.perf_counter()
    features = teacher.features(scene)
    assert features is not None
    print(f"encoded    {len(features.points)} voxels of {scene.name} in {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    reply = teacher.answer(scene, [Question("custom#0", scene.name, "custom", "custom", question, "", (), (), None)])[0]
    assert reply.token_ids is not None
    print(f"answered   {len(reply.token_ids)} tokens in {time.perf_counter() - start:.1f} s: {reply.text!r}")
    print(f"peak RSS   {peak_resident_bytes() / 1e9:6.2f} GB in all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["tiny", "full"], default="tiny")
    parser.add_argument("--scene", required=True, help="a posed scene with depth")
    parser.add_argument("--question", default="What is on the desk?")
    parser.add_argument("--tokens", type=int, default=8, help="most tokens of the answer")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--folder", type=Path, help="store the checkpoint here, or use an existing one")
    parser.add_argument("--answer", action="store_true", help="answer only, in this process")
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    if options.answer:
        answer(options.folder, options.scene, options.question, options.tokens, options.dtype)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "config.json").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            start = time.perf_counter()
            size = write_checkpoint(folder, config_of(options.size), dtype)
            print(f"wrote      {size / 1e9:6.2f} GB to {folder} in {time.perf_counter() - start:.1f} s", flush=True)
        arguments = [*sys.argv[1:], "--answer", "--folder", str(folder)]
        subprocess.run([sys.executable, __file__, *arguments], check=True)


if __name__ == "__main__":
    main()
