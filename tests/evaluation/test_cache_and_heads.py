"""Kept tensors: made once, remade when damaged, told apart by everything they depend on."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brittle.core import components
from brittle.core.errors import CellError
from brittle.core.records import Cell
from brittle.evaluation import cache, heads, probe, protocol
from brittle.evaluation.machine import Machine
from brittle.planning import identity
from brittle.planning.identity import resolve
from brittle.types import Batch, Dataset, Encoder, Features
from brittle.types.target import VOID


@pytest.fixture
def made(fresh: Path) -> tuple[Callable[..., dict[str, Tensor]], list[int]]:
    calls: list[int] = []

    def make(key: object = 1, value: float = 1.0, kind: str = "features") -> dict[str, Tensor]:
        def work() -> dict[str, Tensor]:
            calls.append(1)
            return {"x": torch.full((4,), value)}

        return cache.get_or_make(kind, {"key": key}, work)

    return make, calls


def test_made_once(made: tuple[Callable[..., dict[str, Tensor]], list[int]]) -> None:
    keep, calls = made
    assert keep()["x"].tolist() == keep(value=2.0)["x"].tolist() == [1.0] * 4
    assert len(calls) == 1


def test_keys_and_kinds_are_told_apart(made: tuple[Callable[..., dict[str, Tensor]], list[int]]) -> None:
    keep, calls = made
    found = [keep(1, 1.0), keep(2, 2.0), keep(1, 3.0, "heads"), keep("1", 4.0)]
    assert [part["x"][0].item() for part in found] == [1, 2, 3, 4]
    assert len(calls) == 4


@pytest.mark.fault("F05")
def test_a_damaged_file_is_made_again(fresh: Path, made: tuple[Callable[..., dict[str, Tensor]], list[int]]) -> None:
    keep, calls = made
    keep()
    (path,) = (fresh / "features").rglob("*.safetensors")
    whole = path.read_bytes()
    damaged = [whole[:i] for i in range(0, len(whole), 7)]
    damaged += [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(0, len(whole), 5)]
    damaged += [whole + b"\0", bytes(len(whole))]
    for number, data in enumerate(damaged, 2):
        path.write_bytes(data)
        assert keep()["x"].tolist() == [1.0] * 4
        assert len(calls) == number
        assert path.read_bytes() == whole


def test_a_failure_keeps_nothing(fresh: Path) -> None:
    def fail() -> dict[str, Tensor]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.get_or_make("features", {"key": 1}, fail)
    assert not list(fresh.rglob("*.safetensors"))


class Counting(Encoder):
    def __init__(self) -> None:
        super().__init__(3, 4, size=8, mean=(0, 0, 0), std=(1, 1, 1), about={})
        self.seen = 0

    def forward(self, images: Tensor) -> Features:
        self.seen += len(images)
        return Features(images.mean((2, 3)), torch.nn.functional.avg_pool2d(images, 4))


def test_features_belong_to_the_images_not_to_their_names(fresh: Path) -> None:
    encoder, images = Counting(), torch.rand(4, 3, 8, 8)

    def features(images: Tensor, name: str, weights: str = "w") -> list[tuple[Features, Tensor]]:
        batch = Batch(images, torch.arange(len(images)), [f"{name}{i}" for i in range(len(images))])
        return list(heads.features(encoder, weights, [batch], "features", len(images)))

    ((first, target),) = features(images, "a")
    assert first.pooled.dtype == torch.float16
    assert torch.allclose(first.pooled.float(), images.mean((2, 3)), atol=1e-3)
    assert target.tolist() == [0, 1, 2, 3]
    features(images.clone(), "b")
    assert encoder.seen == 4
    changed = images.clone()
    changed[0, 0, 0, 0] = 1 - changed[0, 0, 0, 0]
    features(changed, "a")
    assert encoder.seen == 8
    features(images, "a", "other weights")
    assert encoder.seen == 12
    features(images.reshape(4, 3, 4, 16), "a")  # the same bytes in another shape
    assert encoder.seen == 16


def test_one_pass_of_the_encoder_serves_heads_that_read_other_parts(fresh: Path) -> None:
    encoder, images = Counting(), torch.rand(4, 3, 8, 8)

    def features(*reads: str, weights: str = "w") -> Features:
        batch = Batch(images, torch.arange(4), list("abcd"))
        ((found, _),) = heads.features(encoder, weights, [batch], "features", 4, reads=reads)
        return found

    whole = Features(images.mean((2, 3)).half(), torch.nn.functional.avg_pool2d(images, 4).half())
    for reads in (("grid",), ("pooled",), ("pooled", "grid")):
        found = features(*reads)
        for name in Features._fields:
            part, wanted = getattr(found, name), getattr(whole, name)
            assert torch.equal(part, wanted if name in reads else wanted[:, :0])
    assert encoder.seen == 4
    features("pooled", weights="other")
    assert encoder.seen == 8
    features("pooled", weights="other")
    assert encoder.seen == 8
    assert torch.equal(features("grid", weights="other").grid, whole.grid)  # was not kept: it takes room
    assert encoder.seen == 12


def test_a_part_that_is_too_large_is_refused_where_it_is_read(fresh: Path) -> None:
    class Loud(Counting):
        def forward(self, images: Tensor) -> Features:
            pooled, grid = super().forward(images)
            return Features(pooled + 1e6, grid)

    encoder, batch = Loud(), Batch(torch.rand(2, 3, 8, 8), torch.arange(2), ["a", "b"])
    for _ in range(2):
        list(heads.features(encoder, "w", [batch], "features", 2, reads=("grid",)))
        with pytest.raises(CellError, match=r"features reach 1e\+06; heads read them up to 65504"):
            list(heads.features(encoder, "w", [batch], "features", 2, reads=("pooled", "grid")))


def test_masks_are_held_in_two_bytes_a_pixel(fresh: Path) -> None:
    masks = torch.tensor([0, 149, VOID, 300]).view(1, 2, 2)
    for target, dtype in ((masks, torch.int16), (masks[:, 0, 0], torch.int64), (masks[:, None] / 2, torch.float32)):
        ((_, held),) = heads.features(Counting(), "w", [Batch(torch.rand(1, 3, 8, 8), target, "a")], "features", 1)
        assert held.dtype == dtype
        assert torch.equal(held.to(target.dtype), target)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="tells by Linux's list of mapped files")
def test_large_features_and_masks_stay_on_disk(fresh: Path) -> None:
    """What a head is fitted on must not fill the memory: a dense data set's features can be larger than that."""
    encoder, side = Counting(), 2048
    large = Batch(torch.rand(1, 3, side, side), torch.randint(0, 150, (1, side, side)), ["a"])
    small = Batch(torch.rand(1, 3, 8, 8), torch.randint(0, 150, (1, 8, 8)), ["b"])
    held = [list(heads.features(encoder, "w", [batch], "features", 1)) for _ in range(2) for batch in (large, small)]
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if str(fresh) in line}
    size = {path: path.stat().st_size for path in map(Path, mapped)}
    assert {path.parts[len(fresh.parts)] for path in size} == {"features", "targets"}
    assert all(size[path] > cache.MAPPED for path in size)
    for (features, target), batch in zip([*held[0], *held[1], *held[2], *held[3]], (large, small) * 2):
        assert torch.equal(target.long(), batch.target)
        assert torch.equal(features.grid, torch.nn.functional.avg_pool2d(batch.images, 4).half())


def test_progress_counts_images_not_their_windows(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    @contextmanager
    def progress(_what: str, total: int) -> Generator[Callable[[int], None]]:
        yield counted.append
        assert sum(counted) == total

    monkeypatch.setattr(heads, "progress", progress)
    batches = [
        Batch(torch.rand(2, 3, 8, 8), torch.zeros(2), names)
        for names in (("a", "b"), ("c", "d"))
        for _window in range(3)
    ]
    assert len(list(heads.features(Counting(), "w", batches, "features", 4))) == 6
    assert counted == [2, 0, 0, 2, 0, 0]


def test_a_head_is_fitted_on_train_and_chosen_on_val(
    fresh: Path, cell_of: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the test split, whose images are measured, has no say in it."""
    cell, task = cell_of(), identity.task_of("classification")
    real, given = probe.fit, []

    def data(text: str, split: str) -> Dataset:
        assert split != "test", "the head has seen the test split"
        return dataset(text, split)

    def fit(*arguments: object, **keywords: object) -> nn.Module:
        given.extend(torch.cat([target for _, target in rows]) for rows in arguments[4:6])  # type: ignore[union-attr]
        return real(*arguments, **keywords)  # type: ignore[arg-type]

    dataset = identity.dataset_of
    labels = {
        part: torch.stack([sample.targets["label"] for sample in dataset(cell.dataset, part)])
        for part in ("train", "val")
    }
    monkeypatch.setattr(identity, "dataset_of", data)
    monkeypatch.setattr(probe, "fit", fit)
    encoder = components.build("encoders", cell.encoder)
    heads.head(resolve(cell), encoder, protocol.standard(cell.dataset, task, 8), Machine(batch_size=8))
    assert [len(each) for each in given] == [64, 32]
    assert torch.equal(given[0], labels["train"])
    assert torch.equal(given[1], labels["val"])


def test_adversarial_images_are_kept_by_what_they_depend_on(fresh: Path) -> None:
    images, calls = torch.rand(2, 3, 4, 4), []

    def make() -> dict[str, Tensor]:
        calls.append(1)
        return {"images": images + 1}

    for key, count in (({"eps": 1}, 1), ({"eps": 1}, 1), ({"eps": 2}, 2)):
        assert torch.equal(cache.adversarial(key, images, make)["images"], images + 1)
        assert len(calls) == count
    cache.adversarial({"eps": 1}, images.flip(0), make)
    assert len(calls) == 3


def test_image_ids_depend_on_order_and_every_id() -> None:
    digests = {cache.image_ids(ids) for ids in (["a", "b"], ["b", "a"], ["a"], ["ab"])}
    assert len(digests) == 4
