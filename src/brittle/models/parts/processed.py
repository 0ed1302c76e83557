"""Networks of transformers behind their own image processors, which pass gradients on."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from brittle.core.errors import MissingError, UsageError
from brittle.core.progress import say
from brittle.encoders.parts import configuration
from brittle.models.parts import transformers_tasks
from brittle.types import Frame

NATIVE = 224  # edge where neither the processor nor the network says
MODES: dict[int, Literal["nearest", "bilinear", "bicubic"]] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters."""
GEOMETRY = ("do_resize", "do_center_crop", "do_pad", "do_split_image")


class Processed(nn.Module):
    """Images [B,3,H,W] in [0,1] through a processor and a network of transformers to a prediction.

    Args:
        read: (outputs, (H, W)) -> prediction.
        inside: whether the processor resizes, crops, pads and splits; else images come as the network takes them.
        dense: whether there is a prediction for each pixel, of which no crop may leave any out.
    """

    def __init__(
        self,
        network: nn.Module,
        processor: Any,
        read: Callable[[Any, Sequence[int]], Tensor],
        *,
        inside: bool,
        dense: bool,
    ) -> None:
        super().__init__()
        self.network, self.processor, self.read = network, processor, read
        off = [] if inside else [*GEOMETRY]
        off += ["do_center_crop"] if dense else []
        self.options = {key: False for key in dict.fromkeys(off) if getattr(processor, key, None)}
        self.padded = "do_pad" not in self.options and bool(getattr(processor, "do_pad", False))
        self.dense, self.whole = dense, set[tuple[int, ...]]()
        """Shapes of images that are known not to be filled up."""

    def forward(self, images: Tensor) -> Tensor:
        prepared = self._prepared(images, **self.options)
        outputs = self.network(pixel_values=prepared["pixel_values"])
        size = images.shape[-2:]
        if hasattr(outputs, "predicted_depth") and hasattr(self.processor, "post_process_depth_estimation"):
            return self._depth(outputs, size)
        if hasattr(self.processor, "merge_image_patches"):
            return self._joined(outputs, prepared, [tuple(size)] * len(images))
        if self.dense and self.padded and tuple(images.shape) not in self.whole:
            self._require_whole(images, prepared["pixel_values"].shape)
        return self.read(outputs, size)

    def _prepared(self, images: Tensor, **options: bool) -> Any:
        with torch.autocast(images.device.type, enabled=False):
            return self.processor(images=list(images * 255), return_tensors="pt", **options)

    @torch.no_grad()
    def _require_whole(self, images: Tensor, shape: Sequence[int]) -> None:
        """Refuse a processor that fills images up to ``shape``, of which it does not say where it does so."""
        bare = self._prepared(images, **self.options, do_pad=False)
        if bare["pixel_values"].shape != shape:
            what = f"{type(self.processor).__name__} pads images to {list(shape[-2:])}, and maps are not cut again"
            raise UsageError(f"{what}; set do_pad to false in preprocessor_config.json, or attack at=input")
        self.whole.add(tuple(images.shape))

    def _joined(self, outputs: Any, prepared: Any, sizes: Sequence[tuple[int, ...]]) -> Tensor:
        """The semantic map of images of these sizes from a processor that splits them, or fills them up."""
        scores = transformers_tasks.shares(outputs, prepared["pixel_values"].shape[-2:])
        if prepared.get("patch_offsets"):
            scores = self.processor.merge_image_patches(scores, prepared["patch_offsets"], sizes, self.processor.size)
        elif self.padded:
            scores = self.processor.unpad_image(scores, sizes, self.processor.size)
        maps = (interpolate(each[None], size=size, mode="bilinear") for each, size in zip(scores, sizes))
        return transformers_tasks.logarithms(torch.cat(list(maps)))

    def _depth(self, outputs: Any, size: Sequence[int]) -> Tensor:
        """Depth at the images' size, as the processor reads it."""
        read = self.processor.post_process_depth_estimation
        sizes = [tuple(size)] * len(outputs.predicted_depth)
        known = inspect.signature(read).parameters
        more: dict[str, Any] = {"source_sizes": sizes} if "source_sizes" in known else {}
        more |= {"do_remove_padding": self.padded} if "do_remove_padding" in known else {}
        found = read(outputs, target_sizes=sizes, **more)
        return torch.stack([each["predicted_depth"] for each in found])[:, None].float()


def processor_of(label: str, folder: Path) -> Any:
    """The image processor that a folder names, of transformers' own.

    Raises:
        MissingError: the folder names none.
        UsageError: one that is not transformers' own, or with settings out of bounds.
    """
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        raise MissingError(f"{label} has no preprocessor_config.json; save its image processor there as well")
    raw = configuration.read(path)
    for key, value in raw.items():
        if key != "id2label":
            configuration.refuse_sizes(str(key), value, label)
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # of whichever class
        why = " ".join(str(error).split())[:160]
        raise UsageError(f"{label}: its preprocessor_config.json makes no image processor ({why})") from None
    if not type(processor).__module__.startswith("transformers."):
        raise UsageError(f"{label}: {type(processor).__name__} is none of transformers' own; use model:py:")
    if getattr(processor, "do_normalize", False):
        configuration.colours(label, processor.image_mean, processor.image_std)
    if getattr(processor, "do_rescale", True) is False:
        say(f"warning: {label}: its processor does not rescale pixels of 0 to 255", always=True)
    return processor


def frame_of(processor: Any, config: Any, *, size: int, window: int, inside: bool, dense: bool) -> Frame:
    """How images come to the network, by what the processor and the configuration say."""
    whole, cropped = (_edge(getattr(processor, name, None)) for name in ("size", "crop_size"))
    crops = bool(getattr(processor, "do_center_crop", False)) and not dense
    own = (cropped if crops else whole) if getattr(processor, "do_resize", True) or crops else 0
    edge, share = whole if crops else 0, getattr(processor, "crop_pct", None)
    if own and isinstance(share, float) and 0 < share < 1 and not dense and own < 384:  # noqa: PLR2004 - of ConvNeXT
        edge = int(own / share)
    configured: Any = getattr(config, "image_size", 0)
    configured = configured[0] if isinstance(configured, (list, tuple)) and configured else configured
    own = own or (0 if dense else configured or NATIVE)
    edge = edge * size // own if size and own else edge
    pixels = MODES.get(int(getattr(processor, "resample", 2) or 2), "bilinear")
    return Frame(size or own, edge if edge > (size or own) else 0, pixels, inside, window)


def _edge(size: Any) -> int:
    """The edge that a processor's size means."""
    if isinstance(size, int):
        return size
    for name in ("height", "shortest_edge", "longest_edge"):
        value = size.get(name) if hasattr(size, "get") else getattr(size, name, None)
        if value:
            return int(value)
    return 0
