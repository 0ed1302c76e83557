"""Our own procedural rooms: shape of the main solid, a class for each pixel, and depth in metres, rendered on first use
and cached."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from brittle.core import files, shared
from brittle.core.errors import UsageError
from brittle.core.progress import progress
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts import render
from brittle.types import Count, DatasetDefaults, Sample

VERSION = 2
CHUNK = 256  # images per cache file
RAYS = 2**19  # pixels drawn at once: with fewer the overhead counts, with more the cache is too small
SPLITS = ("train", "val", "test")
_ONE_AT_A_TIME = Lock()
TRAITS = DatasetTraits(
    version=VERSION,
    licence="Apache-2.0 (made by this package)",
    source="rendered on first use; nothing to fetch",
    layout="none; give no folder",
    protocol="shape of the main solid, a class for each pixel, depth in metres; nothing is void",
    rules={"mask": {"background": 0}},  # the wall
    small={"train": 768, "val": 256},
)


class Scenes(DatasetDefaults):
    """One split. Image i depends on (seed, split, i) alone, so a longer split begins with the shorter one.

    Targets: ``label`` (shape of the main solid), ``mask`` (wall, floor or a shape; nothing is void), ``depth`` (metres
    along the axis).
    """

    licence = TRAITS.licence
    classes: Mapping[str, Sequence[str]] = {"label": render.SHAPES, "mask": render.CLASSES, "depth": ()}

    def __init__(self, split: str, length: int, size: int, seed: int) -> None:
        if not 8 <= size <= 4096:
            raise UsageError(f"scenes(size={size}): the edge must be 8 to 4096 pixels")
        self.split, self.length, self.size, self.seed = split, length, size, seed
        self.fingerprint = files.sha256(f"scenes {VERSION} {split} {length} {size} {seed}".encode())
        self._chunks: dict[int, dict[str, Tensor]] = {}

    @cached_property
    def ids(self) -> Sequence[str]:
        return [f"scenes-{self.seed}-{self.split}-{i:06d}" for i in range(self.length)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int, /) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(index)
        chunk, place = self._chunk(index // CHUNK), index % CHUNK
        targets = {
            "label": chunk["label"][place].long(),
            "mask": chunk["mask"][place].long(),
            "depth": chunk["depth"][place],
        }
        return Sample(chunk["image"][place], targets)

    def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]:
        """For a label nothing is rendered."""
        return ((), self._labels[index]) if kind == "label" else super().glance(index, kind)

    @cached_property
    def _labels(self) -> Tensor:
        return render.compose(self._numbers(range(self.length))).shape[:, 0].long()

    def _numbers(self, scenes: range) -> Tensor:
        """The random numbers that decide some scenes, [N, render.NUMBERS]."""
        key = [SPLITS.index(self.split), self.seed, 0x5CE2E5]
        unit = [np.random.default_rng([i, *key]).random(render.NUMBERS, np.float32) for i in scenes]
        return torch.from_numpy(np.stack(unit))

    def _chunk(self, number: int) -> dict[str, Tensor]:
        if number not in self._chunks:
            with _ONE_AT_A_TIME:  # threads that read ahead come to a new chunk together
                self._find(number)
        return self._chunks[number]

    def _find(self, number: int) -> None:
        if number not in self._chunks:
            name = f"{self.split}-{number:05d}"
            path = shared.folder("scenes") / f"v{VERSION}-{self.size}px-seed{self.seed}" / f"{name}.safetensors"
            data = files.read_sealed(path)
            files.used(path)
            self._chunks[number] = load(data) if data is not None else self._draw(number, path)

    def _draw(self, number: int, path: Path) -> dict[str, Tensor]:
        parts: list[dict[str, Tensor]] = []
        first = number * CHUNK
        with progress(f"rendering scenes {self.split}", max(self.length, first + CHUNK), done=first) as advance:
            batch = max(1, min(CHUNK, RAYS // self.size**2))
            for start in range(first, first + CHUNK, batch):
                scenes = range(start, min(start + batch, first + CHUNK))
                scene = render.compose(self._numbers(scenes))
                view = render.render(scene, self.size)
                image, mask = (view.image * 255).round().to(torch.uint8), view.mask.to(torch.uint8)
                parts.append(
                    {"image": image, "mask": mask, "depth": view.depth, "label": scene.shape[:, 0].to(torch.uint8)}
                )
                advance(len(scenes))
        chunk = {key: torch.cat([part[key] for part in parts]).contiguous() for key in parts[0]}
        files.write_sealed(path, save(chunk))
        return chunk


def scenes(
    split: str, /, *, train: Count = 4096, val: Count = 512, test: Count = 1024, size: Count = 64, seed: Count = 0
) -> Scenes:
    """A split of procedural scenes.

    Args:
        train, val, test: number of images in each split; a longer one begins with the shorter one.
        size: edge in pixels.
        seed: which world; 0 is the benchmark.
    """
    return Scenes(split, {"train": train, "val": val, "test": test}[split], size, seed)
