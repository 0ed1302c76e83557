"""Adversarial images on disk, batch by batch and lossless: what an interrupted cell continues from, and what another
run can attack with."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from brittle.core import files


class ImageStore:
    """A folder of sealed files, each with the tensors [B, ...] of some images, found again by the images' ids however
    they are batched.

    Damaged files count as absent.

    Args:
        of: the identity of the cell whose images these are; of any where empty.
    """

    def __init__(self, folder: Path, of: str = "") -> None:
        self.folder, self.of = folder, of
        self._places: dict[str, tuple[Path, int]] | None = None
        self._last: tuple[Path, dict[str, Tensor]] | None = None

    def put(self, ids: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
        """Write the tensors of some images, completely or not at all."""
        names = torch.frombuffer(bytearray(json.dumps(list(ids)).encode()), dtype=torch.uint8)
        data = save(
            {**{key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}, "ids": names}
        )
        path = self._path(ids)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_sealed(path, data)
        if self._places is not None:
            self._places |= {name: (path, place) for place, name in enumerate(ids)}

    def holds(self, ids: Sequence[str]) -> bool:
        """Whether just these images were written down together; none of them is read."""
        return self._path(ids).is_file()

    def get(self, ids: Sequence[str]) -> dict[str, Tensor] | None:
        """The tensors of these images in this order; None where one of them is not here."""
        places = self._index()
        if path := self._new(ids):
            places |= {name: (path, place) for place, name in enumerate(ids)}
        if not all(name in places for name in ids):
            return None
        images = [(self._read(path), place) for path, place in (places[name] for name in ids)]
        if not all(tensors and images[0][0].keys() == tensors.keys() for tensors, _ in images):
            return None  # one is damaged, or they were not made in the same way
        shapes = {tuple(tensors[key].shape[1:]) for tensors, _ in images for key in ("images",) if key in tensors}
        if len(shapes) > 1:
            return None
        return {key: torch.stack([tensors[key][place] for tensors, place in images]) for key in images[0][0]}

    def clear(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._places, self._last = {}, None

    def _index(self) -> dict[str, tuple[Path, int]]:
        if self._places is None:
            self._places = {}
            for path in sorted(self.folder.glob("*.safetensors")):
                self._places |= {name: (path, place) for place, name in enumerate(_ids(path))}
        return self._places

    def _path(self, ids: Sequence[str]) -> Path:
        return self.folder / f"{files.sha256(json.dumps(list(ids)).encode())[:16]}.safetensors"

    def _new(self, ids: Sequence[str]) -> Path | None:
        """Where just these images are, if another process has written them down since the folder was looked at."""
        path = self._path(ids)
        known = self._places is not None and any(name in self._places for name in ids)
        return path if not known and files.read_sealed(path) is not None else None

    def _read(self, path: Path) -> dict[str, Tensor]:
        if self._last is None or self._last[0] != path:
            data = files.read_sealed(path)
            tensors = load(data) if data is not None else {}
            tensors.pop("ids", None)
            self._last = (path, tensors)
        return self._last[1]


def _ids(path: Path) -> list[str]:
    """Whose images a file holds, without reading them: whether it is whole is seen when they are wanted."""
    try:
        with path.open("rb") as stream:
            stream.seek(files.SEAL)
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if length < path.stat().st_size else {}
            first, end = header["ids"]["data_offsets"]
            stream.seek(files.SEAL + 8 + length + first)
            return [str(name) for name in json.loads(stream.read(end - first))]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return []
