"""Random numbers that belong to an image, not to a batch: neither batch size, order nor sharding changes them."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Rng:
    """One generator an image, seeded by (seed, image id). Draws advance each image's own generator.

    Args:
        seed: the run's seed.
        ids: stable name of each of the B images.
    """

    def __init__(self, seed: int, ids: Sequence[str]) -> None:
        self._seeds = [seed_of(seed, name) for name in ids]
        self._generators = [torch.Generator().manual_seed(seed) for seed in self._seeds]

    def __len__(self) -> int:
        return len(self._generators)

    def rows(self, index: Tensor) -> "Rng":
        """The generators of some images ([b] indices): the same objects, so a draw there advances them here too."""
        part = Rng(0, ())
        part._generators = [self._generators[i] for i in index.tolist()]
        part._seeds = [self._seeds[i] for i in index.tolist()]
        return part

    def again(self) -> "Rng":
        """New generators that draw from the start what these drew: for an attack that must do as part of another what
        it does alone."""
        part = Rng(0, ())
        part._seeds = self._seeds
        part._generators = [torch.Generator().manual_seed(seed) for seed in self._seeds]
        return part

    def uniform(self, like: Tensor) -> Tensor:
        """[B, ...] in [0, 1), shaped, typed and placed as ``like``."""
        return self._draw(torch.rand, like)

    def normal(self, like: Tensor) -> Tensor:
        """[B, ...] standard normal, shaped, typed and placed as ``like``."""
        return self._draw(torch.randn, like)

    def _draw(self, law: Callable[..., Tensor], like: Tensor) -> Tensor:
        rows = [law(like.shape[1:], generator=g) for g in self._generators]
        return torch.stack(rows).to(like) if rows else torch.empty_like(like)


def seed_of(seed: int, name: str) -> int:
    """The seed of what has a name, of 63 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogatepass")).digest()[:8], "little") >> 1
