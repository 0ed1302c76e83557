"""Which task a network of transformers is for, and how its outputs become a prediction."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from brittle.core import installed
from brittle.core.errors import MissingError, UsageError
from brittle.core.traits import Ability

COMPUTED = re.compile(
    r"(^|\.)(pooler\.|mask_token|position_ids|relative_position_index|num_batches_tracked|inv_freq|criterion\.)"
)
"""Keys of what can be computed or plays no part in a prediction."""
LEAST = 1e-8  # score of a class, of which the logarithm is taken
QUERIES = 384  # edge of the maps of queries that Mask2Former's own reading adds up


class HubTask(NamedTuple):
    """``classes``: by model type the class of transformers; ``read``: (outputs, (H, W) of the images) -> prediction."""

    predicts: Sequence[Ability]
    classes: Mapping[str, str]
    read: Callable[[Any, Sequence[int]], Tensor]


def task_of(label: str, raw: Mapping[str, Any]) -> HubTask:
    """The task of a configuration, by the class that it says it was saved from.

    Raises:
        UsageError: no task known here, or a model type that is none of transformers' own for it.
        MissingError: transformers is not installed.
    """
    named = raw.get("architectures")
    saved = str(named[0]) if isinstance(named, list) and named else ""
    kind = str(raw.get("model_type", "unknown"))
    for endings, mapping, predicts, read in _tasks():
        if saved.endswith(endings):
            if kind not in mapping:
                code = " (its own code, which is not run)" if raw.get("auto_map") else ""
                instead = f"there is {', '.join(sorted(mapping))}, else use model:py:"
                raise UsageError(f"{label}: {saved} of type {kind!r}{code} is none of transformers' own; {instead}")
            return HubTask(predicts, mapping, read)
    what = f"was saved as {saved}" if saved else "does not say what it was saved as (architectures in config.json)"
    wanted = "a network for image classification, semantic segmentation or depth estimation"
    raise UsageError(f"{label} {what}; give {wanted}, or -e hf: for an encoder without a head")


def _tasks() -> Sequence[tuple[tuple[str, ...], Mapping[str, str], Sequence[Ability], Any]]:
    """Endings of classes, classes by model type, abilities, and how outputs are read."""
    try:
        from transformers.models.auto import modeling_auto as auto
    except ImportError:
        raise MissingError(f"model:hf {installed.needs('transformers')}") from None
    every = [
        auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES,
        auto.MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES,
    ]
    labels, masks, depths = (
        {kind: name if isinstance(name, str) else name[0] for kind, name in mapping.items()} for mapping in every
    )
    universal = {
        "mask2former": "Mask2FormerForUniversalSegmentation",
        "maskformer": "MaskFormerForInstanceSegmentation",
        "eomt": "EomtForUniversalSegmentation",
        "eomt_dinov3": "EomtDinov3ForUniversalSegmentation",
    }
    return (
        (("ForImageClassification", "ForImageClassificationWithTeacher"), labels, ("classes", "per_image"), logits),
        (("ForSemanticSegmentation",), masks, ("classes", "per_pixel"), logits),
        (("ForUniversalSegmentation", "ForInstanceSegmentation"), universal, ("classes", "per_pixel"), semantic),
        (("ForDepthEstimation",), depths, ("metres", "per_pixel"), depth),
    )


def logits(outputs: Any, _size: Sequence[int]) -> Tensor:
    """As they are."""
    return outputs.logits


def depth(outputs: Any, _size: Sequence[int]) -> Tensor:
    """As it is, [B,1,h,w]."""
    given: Tensor = outputs.predicted_depth
    return given if given.dim() == 4 else given[:, None]


def semantic(outputs: Any, size: Sequence[int]) -> Tensor:
    """The semantic map of queries at the images' size."""
    return logarithms(interpolate(shares(outputs, size), size=tuple(size), mode="bilinear", align_corners=False))


def shares(outputs: Any, size: Sequence[int]) -> Tensor:
    """The score of each class [B,C,h,w], from queries that each have a class and a mask (MaskFormer: Cheng et al. 2021;
    Mask2Former 2022; EoMT: Kerssies et al. 2025), as transformers reads them.

    Args:
        size: (H, W) of what the network was given.
    """
    masks, kind = outputs.masks_queries_logits, type(outputs).__name__
    if "Mask2Former" in kind or "Eomt" in kind:
        edges = (QUERIES, QUERIES) if "Mask2Former" in kind else tuple(size)
        masks = interpolate(masks, size=edges, mode="bilinear", align_corners=False)
    classes = outputs.class_queries_logits.softmax(-1)[..., :-1]
    return torch.einsum("bqc,bqhw->bchw", classes, masks.sigmoid())


def logarithms(scores: Tensor) -> Tensor:
    """Of scores of classes, so that the softmax of an attack's loss is the share of each class."""
    return scores.clamp(min=LEAST).log()
