"""Small networks with random weights, saved as transformers saves them."""

import contextlib
import io
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

import brittle

transformers: Any = __import__("transformers")
T = transformers
STAGES = ["stage1", "stage2", "stage3", "stage4"]


@cache
def classes(kind: str) -> dict[int, str]:
    return dict(enumerate(brittle.load_dataset("scenes", "test").classes[kind]))


def _small(**more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    return {**sizes, "initializer_range": 0.2, **more}


def _square(edge: int) -> dict[str, Any]:
    return {"size": {"height": edge, "width": edge}}


def vit() -> tuple[Any, Any]:
    config = T.ViTConfig(image_size=32, patch_size=8, id2label=classes("label"), **_small())
    return T.ViTForImageClassification(config), T.ViTImageProcessor(**_square(32))


def convnext() -> tuple[Any, Any]:
    config = T.ConvNextConfig(depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], id2label=classes("label"))
    return T.ConvNextForImageClassification(config), T.ConvNextImageProcessor(size={"shortest_edge": 48}, crop_pct=0.75)


def resnet() -> tuple[Any, Any]:
    config = T.ResNetConfig(embedding_size=8, depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], id2label=classes("label"))
    options = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}
    return T.ResNetForImageClassification(config), T.CLIPImageProcessor(**options)


def segformer() -> tuple[Any, Any]:
    sizes = {"hidden_sizes": [8, 8, 16, 16], "decoder_hidden_size": 16, "num_attention_heads": [1, 1, 2, 2]}
    config = T.SegformerConfig(depths=[1] * 4, initializer_range=0.2, id2label=classes("mask"), **sizes)
    return T.SegformerForSemanticSegmentation(config), T.SegformerImageProcessor(**_square(64))


def upernet() -> tuple[Any, Any]:
    backbone = T.ConvNextConfig(depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], out_features=STAGES)
    sizes = {"hidden_size": 16, "auxiliary_in_channels": 16, "auxiliary_channels": 8}
    config = T.UperNetConfig(backbone_config=backbone, initializer_range=0.2, id2label=classes("mask"), **sizes)
    return T.UperNetForSemanticSegmentation(config), T.SegformerImageProcessor(**_square(64))


def _dpt(**more: Any) -> Any:
    sizes = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8, "backbone_out_indices": [0, 1, 2, 3]}
    return T.DPTConfig(image_size=64, patch_size=16, is_hybrid=False, **sizes, **_small(), **more)


def dpt_masks() -> tuple[Any, Any]:
    config = _dpt(id2label=classes("mask"), auxiliary_loss_weight=0.4)
    return T.DPTForSemanticSegmentation(config), T.DPTImageProcessor(**_square(64))


def mask2former() -> tuple[Any, Any]:
    backbone = T.SwinConfig(image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, out_features=STAGES)
    sizes = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 16}
    sizes |= {"encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2, "dim_feedforward": 16}
    config = T.Mask2FormerConfig(backbone_config=backbone, num_queries=8, id2label=classes("mask"), **sizes)
    return T.Mask2FormerForUniversalSegmentation(config), T.Mask2FormerImageProcessor(**_square(64))


def eomt() -> tuple[Any, Any]:
    sizes = {"image_size": 64, "patch_size": 16, "num_queries": 8, "num_blocks": 2, "num_upscale_blocks": 1}
    config = T.EomtConfig(mlp_ratio=1, id2label=classes("mask"), **sizes, **_small())
    size = {"shortest_edge": 64, "longest_edge": None}
    return T.EomtForUniversalSegmentation(config), T.EomtImageProcessor(size=size, do_split_image=True)


def dpt() -> tuple[Any, Any]:
    return T.DPTForDepthEstimation(_dpt()), T.DPTImageProcessor(**_square(64))


def depth_anything(kind: str = "relative") -> tuple[Any, Any]:
    backbone = T.Dinov2Config(
        image_size=56, patch_size=14, out_features=STAGES, reshape_hidden_states=False, **_small()
    )
    sizes = {"reassemble_hidden_size": 32, "neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8, "head_hidden_size": 8}
    metric = {"depth_estimation_type": kind, **({"max_depth": 5} if kind == "metric" else {})}
    config = T.DepthAnythingConfig(backbone_config=backbone, initializer_range=0.2, **sizes, **metric)
    options = {"keep_aspect_ratio": True, "ensure_multiple_of": 14}
    return T.DepthAnythingForDepthEstimation(config), T.DPTImageProcessor(**_square(56), **options)


def depth_anything_metric() -> tuple[Any, Any]:
    return depth_anything("metric")


def glpn() -> tuple[Any, Any]:
    sizes = {"hidden_sizes": [8, 8, 16, 16], "decoder_hidden_size": 16, "num_attention_heads": [1, 1, 2, 2]}
    return T.GLPNForDepthEstimation(
        T.GLPNConfig(depths=[1] * 4, initializer_range=0.2, **sizes)
    ), T.GLPNImageProcessor()


def zoedepth() -> tuple[Any, Any]:
    backbone = T.BeitConfig(
        image_size=64, patch_size=16, out_features=STAGES, reshape_hidden_states=False, **_small(), use_mask_token=False
    )
    sizes = {
        "neck_hidden_sizes": [8] * 4,
        "fusion_hidden_size": 8,
        "bottleneck_features": 8,
        "num_relative_features": 8,
    }
    sizes |= {"bin_embedding_dim": 8, "num_attractors": [4, 2, 2, 1]}
    config = T.ZoeDepthConfig(backbone_config=backbone, initializer_range=0.2, **sizes)
    return T.ZoeDepthForDepthEstimation(config), T.ZoeDepthImageProcessor(**_square(64))


LABELS: Mapping[str, Callable[[], tuple[Any, Any]]] = {"vit": vit, "convnext": convnext, "resnet": resnet}
MASKS: Mapping[str, Callable[[], tuple[Any, Any]]] = {
    "segformer": segformer,
    "upernet": upernet,
    "dpt_masks": dpt_masks,
    "mask2former": mask2former,
    "eomt": eomt,
}
DEPTHS: Mapping[str, Callable[[], tuple[Any, Any]]] = {
    "dpt": dpt,
    "depth_anything": depth_anything,
    "depth_anything_metric": depth_anything_metric,
    "glpn": glpn,
    "zoedepth": zoedepth,
}
QUERIES = ("mask2former", "eomt")
WITHOUT = ("eomt",)  # an encoder of its own: its queries run through it
EVERY = {**LABELS, **MASKS, **DEPTHS}


def saved(name: str, folder: Path) -> Path:
    """The folder of a network, made with seed 0."""
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stderr(io.StringIO()):
        torch.manual_seed(0)
        network, processor = EVERY[name]()
        network.eval().save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return folder / name
