"""Tensors as small pictures: images, perturbations, masks, metres and patch tokens, as WebP in base64."""

import base64
import colorsys
import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from brittle.core.pictures import METRES
from brittle.types import Features, Model, windows

EDGE = 224  # of a drawing, at most
SMALL = 96  # edge of what is written without loss: noise and edges of few pixels suffer most, and cost least
OVERLAY = 0.65  # of the colour of a class over the grey image
EIGHT = ("e69f00", "56b4e9", "009e73", "d55e00", "0072b2", "cc79a7", "f0e442", "999999")
"""Colours that the colour-blind tell apart (Okabe and Ito 2008)."""
SHADES = (0.28, 0.84)
"""How light eight hues are for further classes; then all come again."""


def photograph(image: Tensor) -> str:
    """An image [3,H,W] in [0, 1]."""
    return _written(image.mul(255).round(), Image.Resampling.LANCZOS)


def change(clean: Tensor, attacked: Tensor) -> tuple[str, int]:
    """What was done to an image [3,H,W], amplified by a whole number until its largest change reaches black or white,
    around grey; and that number."""
    delta = (attacked - clean).float()
    most = delta.abs().max().item()
    factor = max(int(0.5 / most + 1e-3), 1) if most else 1
    # the nearest pixels, since the mean of a perturbation over many is grey
    return _written((0.5 + factor * delta).clamp(0, 1).mul(255).round(), Image.Resampling.NEAREST, quality=40), factor


def classes(mask: Tensor, image: Tensor) -> str:
    """Classes [h,w] as colours over the grey image [3,H,W], whatever size they are scored at; only grey where they are
    negative, which is void."""
    mask = nn.functional.interpolate(mask[None, None].double(), image.shape[1:], mode="nearest-exact")[0, 0].long()
    grey = image.float().mean(0, keepdim=True).mul(255).expand(3, -1, -1)
    table = torch.tensor([_rgb(colour(place)) for place in range(int(mask.max().clamp(min=0)) + 1)])
    colours = table[mask.clamp(min=0)].permute(2, 0, 1)
    mixed = torch.where(mask >= 0, OVERLAY * colours + (1 - OVERLAY) * grey, 0.5 * grey)
    return _written(mixed.round(), Image.Resampling.NEAREST)


def colour(place: int) -> str:
    """The colour of a class, such as ``#0072b2``."""
    turn, own = divmod(place, len(EIGHT))
    if turn % (1 + len(SHADES)) == 0:
        return f"#{EIGHT[own]}"
    parts = colorsys.hls_to_rgb(own / len(EIGHT), SHADES[turn % (1 + len(SHADES)) - 1], 0.7)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def metres(depth: Tensor, low: float, high: float) -> str:
    """Metres [H,W] as colours from dark, ``low``, to bright; black where they are no number."""
    table = torch.tensor([_rgb(each) for each in METRES]).float()
    at = ((depth.double() - low) / max(high - low, 1e-9)).clamp(0, 1).nan_to_num(0).float() * (len(METRES) - 1)
    below = at.long().clamp(max=len(METRES) - 2)
    share = (at - below)[..., None]
    colours = table[below] * (1 - share) + table[below + 1] * share
    colours = torch.where(depth.isfinite()[..., None], colours, 0)
    return _written(colours.permute(2, 0, 1).round(), Image.Resampling.NEAREST)


def tokens(model: Model, clean: Tensor, attacked: Tensor) -> list[str]:
    """The patch tokens of an image before and after, [1,3,H,W] each: their three principal components as red, green and
    blue (as DINOv2 shows them: Oquab et al. 2023), in one basis and scale, those of the clean tokens. Nothing where
    there are fewer than four, or no encoder is known."""
    if model.encoder is None:
        return []
    size = clean.shape[-2:]
    window, stride = (model.window, model.stride) if model.windowed(clean) else (max(size), max(size))
    patch = model.encoder.patch

    def seen(images: Tensor) -> Tensor:  # [T, D]
        grids = [grid for _, grid in windows.over(lambda part: _grid(model.encode(part)), images, window, stride)]
        return torch.cat([grid.flatten(2)[0].T for grid in grids])

    rows = seen(clean)
    if len(rows) < 4:
        return []
    mean = rows.mean(0)
    basis = torch.linalg.svd(rows - mean, full_matrices=False).Vh[:3]
    basis = basis * basis.gather(1, basis.abs().argmax(1, keepdim=True)).sign()  # or the sign would be anything
    basis = nn.functional.pad(basis, (0, 0, 0, 3 - len(basis)))  # of features of fewer than three values
    ends = ((rows - mean) @ basis.T).quantile(torch.tensor([0.02, 0.98], dtype=rows.dtype, device=rows.device), 0)

    def coloured(part: Tensor) -> Tensor:
        grid = _grid(model.encode(part)) - mean[:, None, None]
        three = torch.einsum("kd,bdij->bkij", basis, grid) - ends[0][:, None, None]
        three = (three / (ends[1] - ends[0]).clamp(min=1e-9)[:, None, None]).clamp(0, 1)
        # a network that resizes by itself has cells of no whole number of pixels
        edges = [max(patch * count, edge) for count, edge in zip(three.shape[-2:], part.shape[-2:])]
        whole = nn.functional.interpolate(three, size=edges, mode="nearest")
        return whole[..., : part.shape[-2], : part.shape[-1]]

    maps = [windows.mean_map(coloured, images, window, stride)[0] for images in (clean, attacked)]
    return [_written(each.mul(255).round(), Image.Resampling.NEAREST, lossless=True) for each in maps]


def _grid(features: Features) -> Tensor:
    return features.grid.double()


def _rgb(text: str) -> Sequence[int]:
    return tuple(bytes.fromhex(text.removeprefix("#")))


def _written(pixels: Tensor, resampling: Image.Resampling, *, lossless: bool = False, quality: int = 75) -> str:
    """Pixels [3,H,W] from 0 to 255 as WebP, no edge longer than ``EDGE``; small ones without loss."""
    picture = Image.fromarray(pixels.to("cpu", torch.uint8).permute(1, 2, 0).contiguous().numpy())
    share = EDGE / max(picture.size)
    if share < 1:
        picture = picture.resize([max(round(edge * share), 1) for edge in picture.size], resampling)  # type: ignore[arg-type]
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=lossless or max(picture.size) <= SMALL, quality=quality, method=4)
    return base64.b64encode(stream.getvalue()).decode()
