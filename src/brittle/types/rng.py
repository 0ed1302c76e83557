"""Random numbers that belong to an image, not to a batch: neither batch size, order, sharding nor device changes
them."""

import hashlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

VERSIONS = (2, 1)
"""Of the random numbers, the newest first: 2 are counted (Philox), 1 those of torch's generators on the CPU, as
before."""
MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)  # of Philox4x32
ROUNDS, WORD = 10, 0xFFFFFFFF
Words = tuple[Tensor, Tensor, Tensor, Tensor]
AT_ONCE = 2**21  # counters that are worked on at once, which take some 100 bytes each


class Rng:
    """One stream of random numbers an image, told by (seed, image id). Draws advance each image's own stream.

    The numbers are a function of the image's key, of how often it has drawn and of the place in the draw: Philox4x32-10
    (Salmon, Moraes, Dror and Shaw 2011), whose words are the same on every device. Normal ones are made of them in
    double precision, and may be rounded otherwise once in some hundred million.

    Args:
        seed: the run's seed.
        ids: stable name of each of the B images.
        version: one of ``VERSIONS``.
    """

    def __init__(self, seed: int, ids: Sequence[str], version: int = VERSIONS[0]) -> None:
        self._streams = (_Counted if version == VERSIONS[0] else _Generated)([seed_of(seed, name) for name in ids])
        self._rows = torch.arange(len(ids))

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, index: Tensor) -> "Rng":
        """The streams of some images ([b] indices): the same ones, so a draw there advances them here too."""
        part = Rng(0, ())
        part._streams, part._rows = self._streams, self._rows.to(index.device)[index]
        return part

    def again(self) -> "Rng":
        """Streams that draw from the start what these drew: for an attack that must do as part of another what it does
        alone."""
        part = Rng(0, ())
        part._streams, part._rows = self._streams.again(), self._rows
        return part

    def uniform(self, like: Tensor) -> Tensor:
        """[B, ...] in [0, 1), shaped, typed and placed as ``like``."""
        return self._draw(self._streams.uniform, like)

    def normal(self, like: Tensor) -> Tensor:
        """[B, ...] standard normal, shaped, typed and placed as ``like``."""
        return self._draw(self._streams.normal, like)

    def _draw(self, law: "_Law", like: Tensor) -> Tensor:
        if not len(self):
            return torch.empty_like(like)
        self._rows = self._rows.to(like.device)
        return law(self._rows, like).view(like.shape).to(like.dtype)


_Law = Callable[[Tensor, Tensor], Tensor]
"""(indices [b] of images, ``like`` [b, ...]) to one number for each value of ``like``."""


class _Counted:
    """Streams of Philox4x32-10: the key is the image's, the counter says which draw and which place in it."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._keys = torch.tensor(seeds, dtype=torch.int64)
        self._drawn = torch.zeros_like(self._keys)

    def again(self) -> "_Counted":
        streams = _Counted(())
        streams._keys, streams._drawn = self._keys, torch.zeros_like(self._keys)
        return streams

    def uniform(self, rows: Tensor, like: Tensor) -> Tensor:
        if like.dtype == torch.float64:
            return self._words(rows, like, lambda words: torch.stack(words, -1).double() * 2.0**-32)
        return self._words(rows, like, lambda words: (torch.stack(words, -1) >> 8).float() * 2.0**-24)

    def normal(self, rows: Tensor, like: Tensor) -> Tensor:
        """By the method of Box and Muller (1958)."""

        def pairs(words: Words) -> Tensor:
            lengths = [(-2 * torch.log((word + 1).double() * 2.0**-32)).sqrt() for word in words[::2]]
            turns = [word.double() * (2.0**-31 * math.pi) for word in words[1::2]]
            made = [length * law(turn) for length, turn in zip(lengths, turns) for law in (torch.cos, torch.sin)]
            return torch.stack(made, -1).to(like.dtype)

        return self._words(rows, like, pairs)

    def _words(self, rows: Tensor, like: Tensor, made: Callable[[Words], Tensor]) -> Tensor:
        """[b, n]: what is made of the four words of each counter [b, m], for the n values of an image of ``like``."""
        self._keys, self._drawn = self._keys.to(like.device), self._drawn.to(like.device)
        count = like[0].numel()
        places = torch.arange(-(-count // 4), device=like.device)[None]
        keys, drawn = self._keys[rows, None], self._drawn[rows, None]
        parts = [
            made(philox((places, part, torch.zeros_like(part), torch.zeros_like(part)), (key & WORD, key >> 32)))
            for part, key in zip(*(each.split(max(AT_ONCE // max(places.shape[1], 1), 1)) for each in (drawn, keys)))
        ]
        self._drawn[rows] += 1
        return torch.cat(parts).flatten(1)[:, :count]


class _Generated:
    """Streams of a generator of torch an image, on the CPU."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._seeds = seeds
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def again(self) -> "_Generated":
        return _Generated(self._seeds)

    def uniform(self, rows: Tensor, like: Tensor) -> Tensor:
        return self._each(torch.rand, rows, like)

    def normal(self, rows: Tensor, like: Tensor) -> Tensor:
        return self._each(torch.randn, rows, like)

    def _each(self, law: Callable[..., Tensor], rows: Tensor, like: Tensor) -> Tensor:
        return torch.stack([law(like.shape[1:], generator=self._generators[row]) for row in rows.tolist()]).to(like)


def philox(counter: Words, key: tuple[Tensor, Tensor]) -> Words:
    """The four words of Philox4x32-10 for counters of four words and keys of two: whole numbers of 32 bits, kept in
    int64, of shapes that broadcast."""
    a, b, c, d = counter
    one, two = key
    for number in range(ROUNDS):
        if number:
            one, two = (one + WEYL[0]) & WORD, (two + WEYL[1]) & WORD
        first, second = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c  # what overflows does not reach the words
        a, b, c, d = (second >> 32) & WORD ^ b ^ one, second & WORD, (first >> 32) & WORD ^ d ^ two, first & WORD
    return a, b, c, d


def seed_of(seed: int, name: str) -> int:
    """The seed of what has a name, of 63 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogatepass")).digest()[:8], "little") >> 1
