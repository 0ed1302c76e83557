"""More views of the images that heads are fitted on: mirrored, and parts enlarged."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from brittle.types import Batch, Task
from brittle.types.rng import Rng

SMALLEST = 0.5  # share of an edge that a crop has at least


def views_of(batch: Batch, names: Sequence[str], task: Task) -> Iterator[Batch]:
    """The batch, and once more for each of ``names``: ``flips``, mirrored; ``crops``, of each image a random part of
    half to all of each edge enlarged to the whole, the same part in every fit, its metres divided by the enlargement
    (Eigen et al. 2014)."""
    yield batch
    dense = task.target is not None and task.target.dense
    if "flips" in names:
        yield batch._replace(images=batch.images.flip(-1), target=batch.target.flip(-1) if dense else batch.target)
    if "crops" in names:
        # version 1, so that heads fitted before it had a successor are still found
        drawn = Rng(0, batch.ids, 1).uniform(torch.empty(len(batch.ids), 3)).tolist()
        shares = [(SMALLEST + (1 - SMALLEST) * size, top, left) for size, top, left in drawn]
        images = [_part(image[None], *share) for image, share in zip(batch.images, shares)]
        target = batch.target
        if dense:
            metres = "metres" in task.abilities
            parts = [_nearest(map_, *share) for map_, share in zip(target, shares)]
            target = torch.stack([part * share[0] if metres else part for part, share in zip(parts, shares)])
        yield batch._replace(images=torch.cat(images).clamp(0, 1), target=target)


def _places(edge: int, share: float, start: float) -> slice:
    """Of an edge, a part of that share that begins at ``start`` of the way that there is."""
    length = max(1, round(edge * share))
    first = round((edge - length) * start)
    return slice(first, first + length)


def _part(image: Tensor, share: float, top: float, left: float) -> Tensor:
    rows, columns = _places(image.shape[-2], share, top), _places(image.shape[-1], share, left)
    return interpolate(image[..., rows, columns], size=image.shape[-2:], mode="bilinear", align_corners=False)


def _nearest(target: Tensor, share: float, top: float, left: float) -> Tensor:
    """[H, W] or [1, H, W]: each pixel of the part as often as the enlargement has it."""
    rows, columns = _places(target.shape[-2], share, top), _places(target.shape[-1], share, left)
    part = target[..., rows, columns]
    index = [(torch.arange(n) * m // n).to(target.device) for n, m in zip(target.shape[-2:], part.shape[-2:])]
    return part[..., index[0][:, None], index[1]]
