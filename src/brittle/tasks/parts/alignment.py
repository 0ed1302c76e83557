"""The scale and shift of each image that bring relative depth to metres."""

import torch
from torch import Tensor

TINY = 1e-12


def inverted(metres: Tensor) -> Tensor:
    """1 / metres, 0 where there is no depth."""
    return torch.where(metres > 0, 1 / metres.clamp(min=TINY), 0.0)


def lstsq(seen: Tensor, sought: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift [B] float64 with which ``seen`` is nearest to ``sought`` over valid pixels, by least squares in
    closed form (MiDaS: Ranftl et al. 2020); where ``seen`` is one number everywhere, 0 and the mean. [B,1,H,W] each."""
    weight = valid.flatten(1).double()
    count = weight.sum(1).clamp(min=1)
    x, y = (torch.where(valid, each, 0.0).flatten(1).double() for each in (seen, sought))
    x_mean, y_mean = (each.sum(1) / count for each in (x, y))
    x_gap, y_gap = (x - x_mean[:, None]) * weight, (y - y_mean[:, None]) * weight
    spread = (x_gap * x_gap).sum(1)
    flat = spread <= TINY * (x.square().sum(1) + TINY)
    scale = torch.where(flat, 0.0, (x_gap * y_gap).sum(1) / spread.clamp(min=TINY**2))
    return scale, y_mean - scale * x_mean


def median(seen: Tensor, sought: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The ratio of the medians of ``sought`` and ``seen`` over valid pixels, and no shift (Zhou et al. 2017); 1 where
    that is no number. As in ``lstsq``."""
    x, y = (torch.where(valid, each.double(), torch.nan).flatten(1).nanmedian(1).values for each in (seen, sought))
    ratio = y / x
    scale = torch.where(ratio.isfinite(), ratio, 1.0)
    return scale, torch.zeros_like(scale)
