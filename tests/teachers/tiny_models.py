"""Tiny random models of transformers, written to a folder as `save_pretrained` would write large ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

CHAT = (
    "{% for message in messages %}{{ message.role }}: {% for piece in message.content %}"
    "{% if piece.type == 'image' %}<image>{% else %}{{ piece.text }}{% endif %}{% endfor %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def tiny_tokenizer() -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
    )


def write_llava(folder: Path) -> None:
    """LLaVA with photos of 28 x 28 pixels, four patches each."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    vision = transformers.CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        initializer_range=0.5,
    )
    text = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_id=image_token)
    model = transformers.LlavaForConditionalGeneration(config)
    with torch.no_grad():  # large enough that answers depend on photos and words
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.mul_(4)
    model.save_pretrained(folder)
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    processor.save_pretrained(folder)


def write_depth_anything(folder: Path, output: str = "metric") -> None:
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[4, 4, 4, 4],
        fusion_hidden_size=4,
        head_hidden_size=4,
        depth_estimation_type=output,
        max_depth=10 if output == "metric" else 1,
    )
    model = transformers.DepthAnythingForDepthEstimation(config)
    with torch.no_grad():
        model.head.conv3.bias.fill_(0.3)
        model.head.conv3.weight.mul_(50)
    model.save_pretrained(folder)
    transformers.DPTImageProcessorPil(size={"height": 28, "width": 28}).save_pretrained(folder)


def write_yolos(folder: Path) -> None:
    torch.manual_seed(0)
    labels = {0: "Chair", 1: "table"}
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[64, 64],
        patch_size=16,
        num_detection_tokens=4,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
    )
    transformers.YolosForObjectDetection(config).save_pretrained(folder)
    transformers.YolosImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 64}).save_pretrained(folder)


def write_segmenter(folder: Path, semantic: bool) -> None:
    """Segformer for semantic segmentation, or MaskFormer for instances."""
    torch.manual_seed(0)
    labels = {0: "chair", 1: "wall", 2: "table"}
    named = {"id2label": labels, "label2id": {label: number for number, label in labels.items()}}
    size = {"height": 64, "width": 64}
    if semantic:
        one_each = {"num_attention_heads": [1] * 4, "depths": [1] * 4}
        config = transformers.SegformerConfig(hidden_sizes=[8] * 4, decoder_hidden_size=8, **one_each, **named)
        transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
        transformers.SegformerImageProcessorPil(size=size).save_pretrained(folder)
        return
    layers = dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
    heads = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    widths = {"d_model": 32, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    config = transformers.MaskFormerConfig(
        backbone_config=transformers.SwinConfig(embed_dim=8, depths=[1] * 4, num_heads=[1] * 4),
        decoder_config=transformers.DetrConfig(num_queries=5, **layers, **heads, **widths),
        fpn_feature_size=32,
        mask_feature_size=32,
        **named,
    )
    transformers.MaskFormerForInstanceSegmentation(config).save_pretrained(folder)
    transformers.MaskFormerImageProcessorPil(size=size).save_pretrained(folder)


def write_owlvit(folder: Path) -> None:
    """OWL-ViT, which detects what texts name."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 16
    layers = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = transformers.OwlViTConfig(
        text_config={"vocab_size": len(tokenizer), "max_position_embeddings": 16, **layers, **ends},
        vision_config={"image_size": 64, "patch_size": 16, **layers},
        projection_dim=16,
    )
    transformers.OwlViTForObjectDetection(config).save_pretrained(folder)
    transformers.OwlViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
