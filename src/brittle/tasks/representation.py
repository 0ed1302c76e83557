"""The representation itself, without labels: how close positive pairs lie (alignment) and how evenly features spread
(uniformity)."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from brittle.core.errors import UsageError
from brittle.types import Batch, Encoder, Features, LabelFree, Model
from brittle.types.rng import Rng

CHUNK = 256  # images whose distances to all others are held at once
AREA = (0.2, 1.0)  # share of the image that a crop keeps
ASPECT = 4 / 3  # a crop's width over its height, at most, or the other way round
JITTER = 0.4  # by how much brightness, contrast and saturation may change, as shares
GREY = (0.299, 0.587, 0.114)  # luminance of red, green and blue (ITU-R BT.601)


class Unit(nn.Module):
    """Features to the l2-normalised pooled feature [B, D], or what a projector makes of it [B, P]; there is nothing to
    train."""

    def __init__(self, projector: nn.Module | None = None) -> None:
        super().__init__()
        self.projector = nn.Identity() if projector is None else projector

    def forward(self, features: Features, _size: Sequence[int]) -> Tensor:
        return nn.functional.normalize(self.projector(features.pooled), dim=1)


class Representation(LabelFree):
    """Alignment and uniformity (Wang and Isola 2020) of l2-normalised pooled features f, or, with ``projector``, of
    what the encoder's own projector makes of them, which is what contrastive losses use; both lower where the
    representation is better.

    ``alignment``: mean ||f(x) - f(x+)||^2 over positive pairs, 0 to 4: of a clean image two random views, of an
    attacked image itself and the clean one. ``uniformity``: log of the mean exp(-2 ||f(x) - f(y)||^2) over all pairs of
    different images, as they are scored (so of attacked ones among themselves), -8 to 0.

    Target [B, V, D]: f of the two views (V = 2) or of the clean image (V = 1). Statistics: ``distance``, ``images``,
    and ``feature``, which ``together`` turns into ``potential``.
    """

    name, attack = "representation", "pgd"
    headline, higher_is_better = "alignment", False
    reads = ("pooled",)
    unlike = (
        "alignment is of two views of an image where clean, of an image and its attacked self where attacked: not to "
        "be compared with each other; these rows have no checks"
    )

    def __init__(self, projector: bool = False) -> None:
        self.projector = projector

    def head(self, dim: int, outputs: int) -> nn.Module:
        return Unit()

    def head_on(self, encoder: Encoder) -> nn.Module:
        """``Unit`` with the encoder's projector where that is set; UsageError where it has none."""
        if self.projector and encoder.projector is None:
            reason = encoder.about.get("projector", "it holds none")
            instead = "leave projector=true out, or choose a file: checkpoint that holds one, see docs/encoders.md"
            raise UsageError(f"{encoder.label} has no projector ({reason}); {instead}")
        return Unit(encoder.projector if self.projector else None)

    @torch.no_grad()
    def target_of(self, model: Model, batch: Batch, attacked: bool) -> Tensor:
        """The target of a batch of clean images, which are scored as they are or attacked."""
        # the same views for every encoder and seed, and for every version
        draws = Rng(0, batch.ids, 1).uniform(batch.images.new_empty(len(batch.images), 2, 8))
        shown = [batch.images] if attacked else [view(batch.images, part) for part in draws.unbind(1)]
        return torch.stack([model(images) for images in shown], 1)

    def together(self, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Statistics [N] of all images. ``potential`` is a jackknife pseudo-value (Tukey 1958): their mean is the mean
        over pairs, and resampling them gives the interval of a mean over pairs, which that of plain means to the others
        would make half as wide."""
        feature = nn.functional.normalize(rows["feature"].double(), dim=1)
        count = len(feature)
        # but for each image's own, exp(0)
        kernels = ((4 * part @ feature.T - 4).exp().sum(1) - 1 for part in feature.split(CHUNK))
        toward = torch.cat(list(kernels)) / (count - 1)
        pseudo = (2 * (count - 1) * toward - count * toward.mean()) / (count - 2) if count > 2 else toward
        return {"distance": rows["distance"], "images": rows["images"], "potential": pseudo}

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        first, second = torch.cat([prediction[:, None], target], 1)[:, -2:].unbind(1)
        return (first - second).square().sum(1)

    def agreement(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        distance = self.loss(prediction, target)
        return distance, (1 - distance / 4).clamp(min=0)  # half of 1 + cosine

    def score(self, prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        distance = self.loss(prediction.double(), target.double())
        return {"distance": distance, "images": torch.ones_like(distance), "feature": prediction}

    def damage(self, statistics: Mapping[str, Tensor]) -> Tensor:
        return statistics["distance"]

    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]:
        means = {key: total[key] / total["images"] for key in ("distance", "potential") if key in total}
        return {
            "alignment": means["distance"].item(),
            **({"uniformity": means["potential"].log().item()} if "potential" in means else {}),
        }


def representation(*, projector: bool = False) -> Representation:
    """Alignment and uniformity of pooled features.

    Args:
        projector: use the output of the encoder's projector, where its checkpoint holds one.
    """
    return Representation(projector)


def view(images: Tensor, draws: Tensor) -> Tensor:
    """A random view of each of ``images`` [B,3,H,W] in [0,1]: a crop resized back, mirrored half of the time,
    its brightness, contrast and saturation changed (after SimCLR, Chen et al. 2020, without its hue, grey images and
    blur).

    Args:
        draws: [B, 8] in [0, 1).
    """
    area = AREA[0] + (AREA[1] - AREA[0]) * draws[:, 0]
    aspect = (math.log(ASPECT) * (2 * draws[:, 1] - 1)).exp()
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    left, top = (2 * draws[:, 2] - 1) * (1 - width), (2 * draws[:, 3] - 1) * (1 - height)
    mirrored = torch.where(draws[:, 4] < 0.5, -1.0, 1.0).to(draws)
    zero = torch.zeros_like(area)
    place = torch.stack([torch.stack([mirrored * width, zero, left], 1), torch.stack([zero, height, top], 1)], 1)
    places = nn.functional.affine_grid(place, list(images.shape), align_corners=False)
    crops = nn.functional.grid_sample(images, places, padding_mode="border", align_corners=False)
    brightness, contrast, saturation = (1 + JITTER * (2 * draws[:, 5:] - 1)).view(-1, 3, 1, 1, 1).unbind(1)
    grey = crops.new_tensor(GREY).view(1, 3, 1, 1)
    crops = crops * brightness
    middle = (crops * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    crops = middle + contrast * (crops - middle)
    plain = (crops * grey).sum(1, keepdim=True)
    return (plain + saturation * (crops - plain)).clamp(0, 1)
