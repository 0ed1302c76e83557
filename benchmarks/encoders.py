"""Every family of timm, its smallest member with random weights: are its features the published model's?

    python benchmarks/encoders.py [FAMILY...]

At the native size the grid must be that of the network itself, called without brittle; at another size, an oblong and
an odd one, every feature must have the promised shape, or the images are refused in one line. The families in ``QUICK``
take seconds and are part of the tests; all of them take about ten minutes on two cores. Exit 1 where one is wrong.
"""

import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import timm
import torch
from torch import Tensor, nn

import brittle
from brittle.core.errors import UsageError

QUICK = (
    "cspnext", "edgenext", "efficientnet", "efficientvit_msra", "eva", "ghostnet", "inception_next", "levit",
    "mlp_mixer", "mobilenetv3", "shvit", "starnet", "xcit",
)  # fmt: skip
SMALL = ("test_", "nano", "atto", "femto", "pico", "xxs", "xx_small", "micro", "tiny", "_s0", "050", "small", "18")
LARGEST = 100_000_000  # parameters; a family without a smaller member is left out


def smallest(family: str) -> str:
    """The member of a family with the fewest parameters among those whose names say that they are small."""
    names = [name for name in timm.list_models(module=family) if not name.startswith("test_")]
    rank = {name: next((i for i, word in enumerate(SMALL) if word in name), len(SMALL)) for name in names}
    sizes: dict[str, int] = {}
    for name in sorted(names, key=lambda each: (rank[each], len(each)))[:5]:
        with torch.device("meta"):
            network = timm.create_model(name, pretrained=False, num_classes=0)
        sizes[name] = sum(p.numel() for p in network.parameters())
    best = min(sizes, key=sizes.__getitem__, default="")
    return best if best and sizes[best] <= LARGEST else ""


def as_grid(tokens: Tensor, like: Tensor) -> Tensor | None:
    """A network's own features [B,D,H,W], [B,H,W,D] or [B,T,D] as a grid of the shape of ``like``; None where they are
    none of its shape, such as those of a last convolution before the classifier."""
    for each in (tokens, tokens.movedim(-1, 1)) if tokens.dim() == 4 else ():
        if each.shape == like.shape:
            return each
    count = like[0, 0].numel()
    if tokens.dim() == 3 and tokens.shape[1] >= count and tokens.shape[2] == like.shape[1]:
        return tokens[:, tokens.shape[1] - count :].transpose(1, 2).reshape(like.shape)
    return None


@torch.no_grad()
def published(encoder: Any, seen: Tensor, like: Tensor) -> Tensor:
    """The grid of the network itself for normalised images of its native size."""
    network = encoder.network
    features: Any = network.forward_features(seen)
    found = as_grid(features, like) if isinstance(features, Tensor) else None
    if found is None:  # the last of timm's feature levels, before what makes another width or several branches of it
        how = {"norm": True} if encoder.normed else {}
        (found,) = network.forward_intermediates(seen, indices=[-1], intermediates_only=True, **how)
        return found
    if isinstance(getattr(network, "norm", None), nn.Identity) and isinstance(
        getattr(network, "fc_norm", None), nn.Module
    ):
        return network.fc_norm(found.movedim(1, -1)).movedim(-1, 1)
    return found


@torch.no_grad()
def wrongs(name: str) -> Iterator[str]:
    """What is wrong with a model's features, a line each; images refused in one line are no wrong."""
    encoder: Any = brittle.load_encoder(f"timm:{name}(pretrained=false)")
    height, width = encoder.native
    sizes = {"another": (height - 32, width - 32), "oblong": (height, width + 32), "odd": (height - 27, width + 13)}
    for what, size in {"native": (height, width), **sizes}.items():
        images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
        try:
            found = encoder(images)
        except UsageError as error:
            if what == "native" or "\n" in str(error):
                yield f"{what}: {error}"
            continue
        if found.pooled.shape != (1, encoder.dim) or found.grid.shape[:2] != (1, encoder.dim):
            yield f"{what}: pooled {tuple(found.pooled.shape)}, grid {tuple(found.grid.shape)}, dim {encoder.dim}"
        if what == "native":
            wanted = published(encoder, encoder.normalise(images), found.grid)
            apart = (found.grid - wanted).norm() / wanted.norm() if wanted.shape == found.grid.shape else torch.inf
            if not apart < 1e-4:
                yield f"native: {float(apart):.3f} of their length from the network's own features"


def main(families: list[str]) -> int:
    """Judge these families, or all; how many are wrong."""
    logging.disable(logging.CRITICAL)
    wrong = 0
    for family in families or timm.list_modules():
        began, name = time.monotonic(), smallest(family)
        lines = list(wrongs(name)) if name else []
        wrong += bool(lines)
        verdict = "; ".join(lines) or ("right" if name else "left out")
        print(f"{family:26} {name:34} {time.monotonic() - began:5.1f} s  {verdict}", flush=True)
    print(f"{wrong} wrong")
    return wrong


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
