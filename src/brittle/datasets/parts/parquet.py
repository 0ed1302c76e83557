"""Parquet shards as the Hugging Face hub serves them: which belong to a split, and their rows one by one."""

import json
import os
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from brittle.core import files
from brittle.core.errors import CellError, MissingError, UsageError
from brittle.datasets.parts.listed import library
from brittle.datasets.parts.walk import files_below
from brittle.types import image_files


class Shards:
    """The rows of one split, by number; the last row group read is kept."""

    def __init__(self, root: Path, paths: Sequence[Path], columns: Sequence[str]) -> None:
        self._columns, self._lock = list(columns), Lock()
        self.paths = tuple(paths)
        self._files = [_opened(path) for path in paths]
        for path, shard in zip(paths, self._files):
            missing = [name for name in columns if name not in shard.schema_arrow.names]
            if missing:
                raise UsageError(f"{path}: no column {missing[0]!r}; there is {', '.join(shard.schema_arrow.names)}")
        self._groups = [(shard, i) for shard in self._files for i in range(shard.num_row_groups)]
        self._starts = [0]
        for shard, i in self._groups:
            self._starts.append(self._starts[-1] + shard.metadata.row_group(i).num_rows)
        most = sum(path.stat().st_size for path in paths)
        if self._starts[-1] > most or sorted(self._starts) != self._starts:
            raise UsageError(f"{paths[0]}: {self._starts[-1]} rows are more than its bytes can hold; fetch it again")
        self._kept: tuple[int, list[Mapping[str, Any]]] = (-1, [])
        self.stamp = files.sha256(
            "\n".join(f"{path.relative_to(root)} {path.stat().st_size} {files.sha256(_footer(path))}" for path in paths)
        )

    def __len__(self) -> int:
        return self._starts[-1]

    def row(self, index: int) -> Mapping[str, Any]:
        """The columns of a row as Python values."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        group = bisect_right(self._starts, index) - 1
        with self._lock:
            if self._kept[0] != group:
                shard, number = self._groups[group]
                with image_files.decoding(f"{self.paths[self._files.index(shard)]} row {index}", "parquet"):
                    rows = shard.read_row_group(number, columns=self._columns).to_pylist()
                    if len(rows) != self._starts[group + 1] - self._starts[group]:
                        raise ValueError("rows are missing")
                self._kept = (group, rows)
            return self._kept[1][index - self._starts[group]]

    def column(self, name: str) -> list[Any]:
        """A whole column, for small ones such as labels; UsageError where it is damaged."""
        values: list[Any] = []
        for path, shard in zip(self.paths, self._files):
            try:
                values += shard.read(columns=[name]).column(name).to_pylist()
            except Exception as error:  # noqa: BLE001 - pyarrow's own errors are of many kinds
                raise UsageError(
                    f"{path}: column {name!r} is damaged ({type(error).__name__}); fetch it again"
                ) from None
        if len(values) != len(self):
            raise UsageError(f"{self.paths[0]}: column {name!r} has {len(values)} of {len(self)} rows; fetch it again")
        return values

    def class_names(self, column: str) -> list[str]:
        """The names that the hub's own metadata gives the classes of a column; none where it has no such metadata."""
        if not self._files:
            return []
        metadata = (self._files[0].schema_arrow.metadata or {}).get(b"huggingface")
        try:
            names = json.loads(metadata)["info"]["features"][column]["names"] if metadata else []
        except (ValueError, KeyError, TypeError, RecursionError):
            return []
        return [str(name) for name in names] if isinstance(names, list) else []


def content(value: Any, name: str) -> tuple[str, bytes]:
    """An image's bytes from a column of bytes or of {bytes, path}, with the name of the image.

    Raises:
        CellError: it holds none.
    """
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise CellError(f"{name}: holds no image bytes; fetch the data set with its images embedded")
    return name, data


def _footer(path: Path) -> bytes:
    """The bytes of a file's own metadata, with sums of its columns; pyarrow's reader of them ends the process where
    they are damaged."""
    with path.open("rb") as stream:
        stream.seek(-8, os.SEEK_END)
        size = int.from_bytes(stream.read(4), "little")
        stream.seek(-min(size + 8, path.stat().st_size), os.SEEK_END)
        return stream.read()


def _opened(path: Path) -> Any:
    library("pyarrow")
    reader = library("pyarrow.parquet")
    try:
        shard = reader.ParquetFile(path)
        shard.schema_arrow.names  # noqa: B018 - read now, so that a damaged one is refused here
        return shard
    except Exception as error:  # noqa: BLE001 - pyarrow's own errors are of many kinds
        raise UsageError(
            f"{path}: is no parquet file or is cut short ({type(error).__name__}); fetch it again"
        ) from None


def shards(root: Path, config: str) -> dict[str, list[Path]]:
    """The parquet files of each split, in order, by the hub's names of the splits:
    ``data/SPLIT-*.parquet``, ``CONFIG/SPLIT-*.parquet`` or ``CONFIG/SPLIT/0000.parquet``.

    Raises:
        MissingError: there are none, or some of a numbered set are missing.
        UsageError: they belong to several configurations and ``config`` is not given.
    """
    every = files_below(root, (".parquet",)).paths
    groups: dict[str, dict[str, list[Path]]] = {}
    for path in every:
        inner = path.relative_to(root)
        match = re.fullmatch(r"(.+?)(?:-\d+-of-(\d+).*)?", path.stem)
        split = inner.parent.name if path.stem.isdecimal() else match.group(1) if match else path.stem
        group = inner.parent.parent if path.stem.isdecimal() else inner.parent
        groups.setdefault(group.as_posix(), {}).setdefault(split, []).append(path)
    if config:
        groups = {group: splits for group, splits in groups.items() if config in group.split("/")}
    if not groups:
        which = f" of configuration {config!r}" if config else ""
        raise MissingError(
            f"{root}: no parquet files{which}; put them there as the hub has them, such as "
            "data/train-00000-of-00001.parquet"
        )
    if len(groups) > 1:
        raise UsageError(f"{root}: several configurations ({', '.join(sorted(groups))}); say which with config=")
    (splits,) = groups.values()
    for paths in splits.values():
        numbered = re.search(r"-\d+-of-(\d+)", paths[0].stem)
        if numbered and len(paths) != int(numbered.group(1)):
            raise MissingError(
                f"{paths[0].parent}: {len(paths)} of {int(numbered.group(1))} shards like {paths[0].name}; fetch "
                "the others"
            )
    return splits


def snapshot(name: str, revision: str) -> Path:
    """The folder of a data set: a local path, else the hub's cached copy of ``ORG/NAME``. Never uses the network.

    Raises:
        MissingError: neither exists.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    how = f"brittle data download 'hf:{name}'" + (f" with revision={revision}" if revision else "")
    hint = f"fetch it with {how}, or put its parquet files into a folder DIR and write hf:DIR"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise MissingError(f"no folder {name!r}; {hint}")
    hub = library("huggingface_hub")
    try:
        folder = hub.snapshot_download(name, repo_type="dataset", revision=revision or None, local_files_only=True)
    except (OSError, ValueError):  # the hub's own errors are kinds of both
        raise MissingError(f"{name} is not in the hub's cache; {hint}") from None
    return Path(folder)
