"""Adversarial images written down batch by batch: found again in any order and batch, and an interrupted cell continues
from them."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from brittle.attacks.parts.image_store import ImageStore
from brittle.core import components
from brittle.core.records import Cell
from brittle.evaluation import attacking, measure
from brittle.evaluation.machine import Machine
from brittle.launch.local import local
from brittle.launch.parts.cell import Work
from brittle.planning import identity
from brittle.results.store import Store

Cells = Callable[..., Cell]


def test_found_again_by_id_in_any_batch(tmp_path: Path) -> None:
    images = torch.rand(5, 3, 4, 4)
    ImageStore(tmp_path).put(["a", "b", "c"], {"images": images[:3]})
    ImageStore(tmp_path).put(["d", "e"], {"images": images[3:]})
    shelf = ImageStore(tmp_path)
    found = shelf.get(["e", "a", "c"])
    assert found is not None
    assert torch.equal(found["images"], images[[4, 0, 2]])
    assert shelf.get(["a", "x"]) is None
    shelf.clear()
    assert shelf.get(["a"]) is None
    assert not tmp_path.exists()


@pytest.mark.fault("F05")
def test_a_damaged_file_counts_as_absent(tmp_path: Path) -> None:
    """Whichever byte it is: of the seal, the header, the images or the ids."""
    ImageStore(tmp_path / "a").put(["a", "b"], {"images": torch.rand(2, 3, 4, 4), "damage": torch.rand(2)})
    (path,) = (tmp_path / "a").iterdir()
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert ImageStore(tmp_path / "a").get(["a", "b"]) is None, place
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert ImageStore(tmp_path / "a").get(["a", "b"]) is None, length
    shelf = ImageStore(tmp_path / "a")
    shelf.put(["a", "b"], {"images": torch.zeros(2, 3, 4, 4)})
    assert shelf.get(["b"]) is not None


@pytest.mark.fault("F01")
@pytest.mark.usefixtures("quick")
def test_an_interrupted_cell_goes_on_and_ends_with_the_same_numbers(
    tmp_path: Path, cell_of: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell_of("pgd(steps=3)", "segmentation")
    wanted, samples, _ = measure.measure(cell, Machine(batch_size=4), "none")
    monkeypatch.setattr(attacking, "COSTLY", 0.0)
    real, calls = attacking.attacked, []

    def counted(*arguments: object, **keywords: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(attacking, "attacked", counted)
    with pytest.raises(KeyboardInterrupt):
        measure.measure(cell, Machine(batch_size=4), "none", ImageStore(tmp_path))
    found, again, _ = measure.measure(cell, Machine(batch_size=4), "none", ImageStore(tmp_path))
    assert len(calls) == 3 + 2, "of four batches two were done before"
    assert found.metrics == wanted.metrics
    assert found.intervals == wanted.intervals
    one, two = (dict(np.load(io.BytesIO(data))) for data in (samples, again))
    for key in one:
        assert np.array_equal(one[key], two[key], equal_nan=key not in ("ids", "classes")), key


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("attack", "task", "before", "after"),
    [
        ("autoattack(steps=6, queries=8)", "classification", 3, 1),
        ("warm(attack='autoattack(steps=6, queries=8)', eps=[0.002])", "classification", 7, 1),
        ("sea(steps=4)", "segmentation", 4, 1),
        ("depth_worst(steps=4)", "depth", 4, 3),
        ("depth_worst(steps=4)", "depth", 8, 1),  # the last begins at the worst of the others
        ("worst(attacks=[pgd(steps=2), 'apgd(steps=4, objective=mse)', depthpgd], chain=true)", "depth", 2, 1),
        ("apgd(objective=dlr, targets=3, steps=4)", "classification", 2, 1),
    ],
)
def test_an_ensemble_goes_on_in_the_middle_of_a_batch(
    tmp_path: Path, cell_of: Cells, monkeypatch: pytest.MonkeyPatch, attack: str, task: str, before: int, after: int
) -> None:
    """With the same numbers and the same findings, which need what the first member noted."""
    cell = cell_of(attack, task, eps=1 / 255)
    wanted, samples, _ = measure.measure(cell, Machine(batch_size=16))
    monkeypatch.setattr(attacking, "COSTLY", 0.0)
    put, written = ImageStore.put, []

    def stopped(shelf: ImageStore, *arguments: object) -> None:
        put(shelf, *arguments)  # type: ignore[arg-type]
        written.append(shelf.folder)
        if len(written) == before:
            raise KeyboardInterrupt

    monkeypatch.setattr(ImageStore, "put", stopped)
    with pytest.raises(KeyboardInterrupt):
        measure.measure(cell, Machine(batch_size=16), "fast", ImageStore(tmp_path))
    assert not list(tmp_path.glob("*.safetensors")), "the batch itself was not done"
    found, again, _ = measure.measure(cell, Machine(batch_size=16), "fast", ImageStore(tmp_path))
    assert len(written) - before >= after + 1, "the members left, and the batch"
    assert len(set(written)) == len(written), "no member was made twice"
    assert found.metrics == wanted.metrics
    assert found.findings == wanted.findings
    one, two = (dict(np.load(io.BytesIO(data))) for data in (samples, again))
    for key in one:
        assert np.array_equal(one[key], two[key], equal_nan=key not in ("ids", "classes")), key
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [], "members go once the batch is there"


@pytest.mark.usefixtures("quick")
def test_an_interrupted_cell_never_goes_on_from_anothers_images(
    tmp_path: Path, cell_of: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both stopped half way, with the same images under the same names on disk."""
    cells = {
        identity.resolve(cell).id: cell
        for cell in (cell_of("pgd(steps=2)", "depth", eps=eps) for eps in (4 / 255, 16 / 255))
    }
    wanted = [measure.measure(cell, Machine(batch_size=8), "none")[0].metrics for cell in cells.values()]
    monkeypatch.setattr(attacking, "COSTLY", 0.0)
    store, calls, real = Store(tmp_path), [], attacking.attacked

    def stopped(*arguments: object, **keywords: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) % 2 == 0:
            raise KeyboardInterrupt
        return real(*arguments, **keywords)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(attacking, "attacked", stopped)
        for name, cell in cells.items():
            with pytest.raises(KeyboardInterrupt):
                local(Work({name: cell}, store, Machine(batch_size=8), "none"))
    assert len(calls) == 4, "of two batches each cell had its first"
    local(Work(cells, store, Machine(batch_size=8), "none"))
    assert not store.missing(list(cells))
    assert [store.get(name).metrics for name in cells] == wanted  # type: ignore[union-attr]


@pytest.mark.usefixtures("quick")
def test_a_greedy_ensemble_takes_each_metric_at_its_worst(cell_of: Cells) -> None:
    members = [
        f"apgd(objective={loss}, steps=6, shrink=true, keep=score)"
        for loss in ("masked_ce(balanced=true)", "masked_ce", "js")
    ]
    single = [measure.measure(cell_of(member, "segmentation"), Machine(), "none")[0].metrics for member in members]
    found = measure.measure(cell_of("sea(steps=6)", "segmentation"), Machine(), "none")[0]
    assert found.metrics["aacc"] <= min(metrics["aacc"] for metrics in single) + 1e-9
    assert found.metrics["miou"] <= min(metrics["miou"] for metrics in single) + 1e-9
    if "miou" in found.intervals:  # none where every image is at 0
        low, high = found.intervals["miou"]
        assert low <= found.metrics["miou"] <= high
    else:
        assert found.metrics["miou"] == 0


def test_the_greedy_choice_is_never_above_any_member_nor_the_first_choice() -> None:
    task = components.build("tasks", "segmentation")
    generator = torch.Generator().manual_seed(0)
    pixels = 400
    for _ in range(20):
        truth = torch.randint(0, 5, (12, 1, pixels), generator=generator).expand(-1, 3, -1)
        wrong = torch.rand(12, 3, pixels, generator=generator) < torch.rand(12, 3, 1, generator=generator)
        guess = torch.where(wrong, torch.randint(0, 5, truth.shape, generator=generator), truth)
        logits = torch.nn.functional.one_hot(guess, 5).movedim(-1, 1).float()  # [12, 5, 3, pixels]
        rows = [task.score(logits[:, :, i, :, None], truth[:, i, :, None]) for i in range(3)]
        stacked = {key: torch.stack([row[key] for row in rows], 1) for key in rows[0]}

        def miou(pick: torch.Tensor, held: dict = stacked) -> float:
            return task.summarise({key: value[torch.arange(12), pick].sum(0) for key, value in held.items()})["miou"]

        damage = torch.stack([task.damage(row) for row in rows], 1)
        greedy = miou(task.worst(stacked))
        assert greedy <= miou(damage.argmax(1)) + 1e-12
        assert greedy <= min(miou(torch.full((12,), i)) for i in range(3)) + 1e-12
