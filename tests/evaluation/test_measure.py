"""One cell in, one result out: the same number however it is batched, and no number at all from what cannot be
trusted."""

import functools
import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from brittle.attacks.parts.run import attacked
from brittle.core import components
from brittle.core.errors import CellError
from brittle.core.records import Cell
from brittle.evaluation import inspection, loading, probe, protocol
from brittle.evaluation import measure as measuring
from brittle.evaluation.intervals import intervals
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import measure
from brittle.launch.local import local
from brittle.launch.parts.cell import Work
from brittle.planning import identity
from brittle.planning.identity import resolve
from brittle.reports.parts.wording import caption
from brittle.results.compare import statistics_of
from brittle.results.store import Store
from brittle.types import Dataset, DatasetDefaults, Model, Sample, Target, frozen, resized
from brittle.types.rng import Rng
from brittle.types.target import VOID
from brittle.types.threat import Threat

pytestmark = pytest.mark.usefixtures("quick")
Cells = Callable[..., Cell]
TASKS = ("classification", "segmentation", "depth")


def _arrays(samples: bytes) -> dict[str, np.ndarray]:
    return dict(np.load(io.BytesIO(samples)))


def _wrap(replaced: Callable[..., None], name: str, around: Callable[..., Tensor]) -> None:
    """Put ``around(real, model, batch, threat, rng, **settings)`` in an attack's place."""
    real = components.component("attacks", name).function

    @functools.wraps(real)
    def wrapped(*arguments: object, **settings: object) -> Tensor:
        return around(real, *arguments, **settings)

    replaced("attacks", name, wrapped)


def test_a_result_says_what_it_is(cell_of: Cells) -> None:
    cell = cell_of()
    result, samples, _ = measure(cell, Machine(batch_size=8, keep=True))
    arrays = _arrays(samples)
    assert result.cell == cell
    assert result.images == len(arrays["ids"]) == len(set(arrays["ids"])) == 16
    assert result.metrics["accuracy"] == arrays["correct"].mean()
    low, high = result.intervals["accuracy"]
    assert 0 <= low <= result.metrics["accuracy"] <= high <= 1
    fast = {
        name for name in components.names("checks") if components.component("checks", name).traits.evidence == "fast"
    }
    assert {finding.name for finding in result.findings} == fast
    assert next(f for f in result.findings if f.name == "budget").verdict == "ok"
    assert arrays["violation"].max() <= 1e-6
    assert list(arrays["classes"]) == list(resolve(cell).data("test").classes["label"])
    assert len(set(arrays["label"])) > 1
    assert result.cost["forwards"] >= 16 * 5
    assert result.cost["backwards"] == 16 * 3
    assert result.made_by["data_sha256"]
    assert "steps=3" in result.made_by["settings"]["attacks"]
    assert measure(cell, Machine(batch_size=8), checks="none")[0].findings == ()


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_targeted_attack_says_how_much_arrived(cell_of: Cells, task: str) -> None:
    """Counted here from the very images, by hand: of what is not of that class in truth, the share predicted as it."""
    attack = "pgd(objective=targeted(label=1), steps=5)"
    cell = cell_of(attack, task, eps=32 / 255, protocol="standard(subset=first)")
    result, samples, _ = measure(cell, Machine(batch_size=8))
    halves, *_ = measure(cell, Machine(batch_size=3))
    model, _ = measuring.model_of(identity.resolve(cell), Machine())
    images = identity.dataset_of(cell.dataset, "test")
    rule = protocol.standard(cell.dataset, model.task, 8)
    reached = aimed = clean = 0
    with frozen(model):
        for batch in loading.batches(images, range(16), model.task, rule, Machine(batch_size=16)):
            found = attacked(model, attack, batch, Threat("linf", 32 / 255), Rng(0, batch.ids), precision="fp32")
            counted = (batch.target != 1) & (batch.target != VOID)
            with torch.no_grad():
                there, before = (
                    resized(model(x), (8, 8)).argmax(1) if task == "segmentation" else model(x).argmax(1)
                    for x in (found, batch.images)
                )
            aimed += int(counted.sum())
            reached += int((counted & (there == 1)).sum())
            clean += int((counted & (before == 1)).sum())
    assert result.metrics["reached"] == halves.metrics["reached"] == pytest.approx(reached / aimed)
    assert reached > clean
    assert result.made_by["aims"] == {"1": images.classes["mask" if task == "segmentation" else "label"][1]}
    arrays = _arrays(samples)
    assert arrays["reached"].sum() == reached
    assert arrays["aimed"].sum() == aimed
    if reached < aimed or task == "classification":  # all alike have no interval
        low, high = result.intervals["reached"]
        assert low <= result.metrics["reached"] <= high
    assert "reached" not in measure(cell_of("pgd(steps=2)", task), Machine())[0].metrics


def test_a_clean_row_is_not_attacked(cell_of: Cells) -> None:
    result, _, _ = measure(cell_of(None), Machine())
    assert result.metrics == result.metrics_uint8
    assert not [finding for finding in result.findings if finding.name != "head"], "no check of attacks"
    assert result.cost["backwards"] == 0


@pytest.mark.fault("F26")
@pytest.mark.parametrize("attack", ["pgd(steps=3)", "embed(steps=3)", "noise"])
@pytest.mark.parametrize("task", TASKS)
def test_neither_batch_nor_readers_nor_limit_move_a_number(cell_of: Cells, task: str, attack: str) -> None:
    results = [
        measure(cell_of(attack, task), machine)
        for machine in (Machine(batch_size=4), Machine(batch_size=16, workers=2))
    ]
    (one, first), (two, second) = [(result, _arrays(samples)) for result, samples, _ in results]
    assert one.id == two.id
    assert one.image_ids_sha256 == two.image_ids_sha256
    assert one.metrics == pytest.approx(two.metrics, rel=1e-4)
    assert one.metrics_uint8 == pytest.approx(two.metrics_uint8, rel=1e-4)
    half = _arrays(measure(cell_of(attack, task, limit=7), Machine(batch_size=5))[1])
    places = [list(first["ids"]).index(name) for name in half["ids"]]
    assert len(places) == 7
    for key in first:
        if key not in ("ids", "classes", "violation"):
            assert np.allclose(first[key], second[key], rtol=1e-4, equal_nan=True)
            assert np.allclose(first[key][places], half[key], rtol=1e-4, equal_nan=True)


def test_the_order_of_images_moves_no_number(cell_of: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cell_of("pgd(steps=3)", "segmentation")
    straight, first, _ = measure(cell, Machine(batch_size=4))
    real = loading.batches

    def shuffled(dataset: object, indices: Sequence[int], *rest: object, **keywords: object) -> object:
        order = [list(indices)[i] for i in torch.randperm(len(indices), generator=torch.Generator().manual_seed(3))]
        return real(dataset, order, *rest, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "batches", shuffled)
    mixed, second, _ = measure(cell, Machine(batch_size=4))
    assert mixed.metrics == pytest.approx(straight.metrics, rel=1e-6)
    a, b = _arrays(first), _arrays(second)
    assert list(a["ids"]) != list(b["ids"])
    assert np.array_equal(a["intersection"][np.argsort(a["ids"])], b["intersection"][np.argsort(b["ids"])])


def test_the_seed_moves_the_start(cell_of: Cells) -> None:
    samples = [_arrays(measure(cell_of("noise", "depth", seed=seed, eps=0.2), Machine())[1])["rmse"] for seed in (0, 1)]
    assert not np.array_equal(*samples)


@pytest.mark.fault("F18", "F19")
@pytest.mark.parametrize(
    "error", [RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"), torch.OutOfMemoryError("CUDA")]
)
@pytest.mark.parametrize("attack", ["pgd", "embed"])
def test_memory_halves_the_batch_and_moves_no_number(
    replaced: Callable[..., None],
    fresh: Path,
    cell_of: Cells,
    monkeypatch: pytest.MonkeyPatch,
    attack: str,
    error: Exception,
) -> None:
    cell = cell_of(f"{attack}(steps=3)", "depth")
    (wanted, *_), sizes = measure(cell, Machine(batch_size=4)), []

    def hungry(real: Callable[..., Tensor], model: Model, batch: object, *rest: object, **settings: object) -> Tensor:
        sizes.append(len(batch.images))  # type: ignore[attr-defined]
        if sizes[-1] > 4:
            raise error
        return real(model, batch, *rest, **settings)

    _wrap(replaced, attack, hungry)
    monkeypatch.setenv("BRITTLE_CACHE", str(fresh) + "-2")
    found, _, _ = measure(cell, Machine(batch_size=16))
    assert found.metrics == pytest.approx(wanted.metrics, rel=1e-6)
    assert 16 in sizes
    assert sizes.count(4) == 4


@pytest.mark.parametrize("attack", [None, "pgd(steps=1)"])
def test_a_score_is_taken_in_parts_as_well(cell_of: Cells, monkeypatch: pytest.MonkeyPatch, attack: str | None) -> None:
    """Maps of 150 classes at an image's own size may be more than the attack itself needs."""
    cell = cell_of(attack, "segmentation")
    (wanted, *_), sizes = measure(cell, Machine(batch_size=16)), []
    task, real = identity.task_of("segmentation"), identity.task_of("segmentation").score

    def hungry(prediction: Tensor, target: Tensor) -> object:
        sizes.append(len(target))
        if len(target) > 3:
            raise torch.OutOfMemoryError("CUDA")
        return real(prediction, target)

    monkeypatch.setattr(task, "score", hungry)
    found, _, _ = measure(cell, Machine(batch_size=16))
    assert found.metrics == pytest.approx(wanted.metrics, rel=1e-6)
    assert max(sizes) == 16
    assert sizes.count(2) == 8 * (2 if attack else 1)


@pytest.mark.fault("F19")
def test_no_memory_for_a_single_image_is_said(cell_of: Cells, replaced: Callable[..., None]) -> None:
    def never(*_arguments: object, **_settings: object) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    _wrap(replaced, "pgd", never)
    with pytest.raises(CellError, match="out of memory"):
        measure(cell_of(limit=2), Machine())


def _failures(folder: Path, cells: Sequence[Cell]) -> list[str | None]:
    store = Store(folder)
    local(Work({identity.resolve(cell).id: cell for cell in cells}, store, Machine(), "fast"))
    return [result.failed for result in store.results()]


@pytest.mark.parametrize(("size", "norm"), [(1.1, "linf"), (1.1, "l2"), (float("nan"), "linf"), (40.0, "linf")])
def test_an_attack_that_leaves_the_threat_gives_no_number(
    tmp_path: Path, cell_of: Cells, replaced: Callable[..., None], size: float, norm: str
) -> None:
    def cheat(
        _real: object, _model: Model, batch: object, threat: object, *_rest: object, **_settings: object
    ) -> Tensor:
        images = batch.images  # type: ignore[attr-defined]
        moved = torch.where(images > 0.5, -1.0, 1.0) * threat.eps * size  # type: ignore[attr-defined]
        return images + (moved if norm == "linf" else moved / (images[0].numel() ** 0.5))

    _wrap(replaced, "pgd", cheat)
    clean, bad = _failures(tmp_path, [cell_of(None), cell_of("pgd", norm=norm)])
    assert clean is None  # the others continue
    assert bad is not None
    assert bad.startswith("budget")


def test_one_image_outside_the_threat_among_others_inside_gives_no_number(
    tmp_path: Path, cell_of: Cells, replaced: Callable[..., None]
) -> None:
    def cheat(
        _real: object, _model: Model, batch: object, threat: object, *_rest: object, **_settings: object
    ) -> Tensor:
        images = batch.images.clone()  # type: ignore[attr-defined]
        images[2] += torch.where(images[2] > 0.5, -1.1, 1.1) * threat.eps  # type: ignore[attr-defined]
        return images

    _wrap(replaced, "pgd", cheat)
    (bad,) = _failures(tmp_path, [cell_of("pgd")])
    assert bad is not None
    assert bad.startswith("budget")
    third = inspection.places(cell_of().dataset, "test", 16, "balanced")[2]
    assert identity.dataset_of(cell_of().dataset, "test").ids[third] in bad


@pytest.mark.parametrize(("norm", "eps"), [("linf", 8 / 255), ("l2", 0.5)])
def test_an_attack_is_given_the_budget_of_the_cell(
    cell_of: Cells, replaced: Callable[..., None], norm: str, eps: float
) -> None:
    given = []

    def look(
        real: Callable[..., Tensor], model: Model, batch: object, threat: object, *rest: object, **settings: object
    ) -> Tensor:
        given.append(threat)
        return real(model, batch, threat, *rest, **settings)

    _wrap(replaced, "pgd", look)
    measure(cell_of("pgd(steps=1)", norm=norm, eps=eps), Machine(), "none")
    assert given == [Threat(norm, eps)]  # type: ignore[arg-type]


@pytest.mark.parametrize("task", TASKS)
def test_intervals_are_those_of_the_rows_that_the_metrics_come_from(cell_of: Cells, task: str) -> None:
    """Of the attacked images as they are: not of the clean ones, nor of those rounded to 8 bit."""
    result, samples, _ = measure(cell_of("pgd(steps=3)", task, eps=0.7 / 255), Machine(batch_size=8), "none")
    made = identity.task_of(task)
    rows = {key: torch.from_numpy(value) for key, value in statistics_of(_arrays(samples))[1].items()}
    assert made.summarise({key: value.sum(0) for key, value in rows.items()}) == pytest.approx(result.metrics)
    assert result.intervals.keys() == intervals(made, rows).keys()
    for name, ends in intervals(made, rows).items():
        assert result.intervals[name] == pytest.approx(ends), name
    clean = measure(cell_of(None, task), Machine(), "none")[0]
    if task == "depth":  # errors in metres, which every change moves
        assert result.metrics["rmse"] != result.metrics_uint8["rmse"] != clean.metrics["rmse"]


@pytest.mark.fault("F16")
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("attack", [None, "pgd(steps=2)", "noise"])
def test_predictions_that_are_no_numbers_give_no_number(
    tmp_path: Path, cell_of: Cells, monkeypatch: pytest.MonkeyPatch, attack: str | None, value: float
) -> None:
    real = measuring.model_of

    class Broken(torch.nn.Module):
        def __init__(self, head: torch.nn.Module) -> None:
            super().__init__()
            self.head = head

        def forward(self, *arguments: object) -> Tensor:
            return self.head(*arguments) * value

    def broken(*arguments: object) -> tuple[Model, protocol.Protocol]:
        model, rule = real(*arguments)  # type: ignore[arg-type]
        return Model(model.task, Broken(model.head), model.encoder), rule  # type: ignore[arg-type]

    monkeypatch.setattr(measuring, "model_of", broken)
    (failed,) = _failures(tmp_path, [cell_of(attack)])
    assert failed is not None
    assert failed.startswith("nonfinite")


@pytest.mark.parametrize(
    "error",
    [IndexError, MemoryError, AssertionError, ImportError, StopIteration, EOFError, zlib.error, struct.error],
)
def test_a_fault_of_a_component_fails_its_cell_alone(
    tmp_path: Path, cell_of: Cells, replaced: Callable[..., None], error: type[Exception]
) -> None:
    def fault(*_arguments: object, **_settings: object) -> Tensor:
        raise error("list index\nout of range")

    _wrap(replaced, "pgd", fault)
    found = _failures(tmp_path, [cell_of(), cell_of(None), cell_of("noise")])
    assert found.count(None) == 2
    assert ("out of memory" if error is MemoryError else error.__name__) in str(found[-1])
    assert "\n" not in str(found[-1])


class Planted(DatasetDefaults):
    """A data set whose last image has another label or mask."""

    def __init__(self, data: Dataset, kind: Target, change: Callable[[Tensor], Tensor]) -> None:
        self.data, self.kind, self.change = data, kind.name, change

    def __getattr__(self, name: str) -> object:
        return getattr(self.data, name)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int, /) -> Sample:
        sample = self.data[index]
        if index < len(self) - 1:
            return sample
        return sample._replace(targets={**sample.targets, self.kind: self.change(sample.targets[self.kind])})


def _one_pixel(value: int) -> Callable[[Tensor], Tensor]:
    return lambda mask: mask.index_put((torch.tensor(-1), torch.tensor(-1)), torch.tensor(value))


@pytest.mark.fault("F07", "F08")
@pytest.mark.parametrize(
    ("task", "change", "words"),
    [
        *(
            ("classification", lambda _label, value=value: torch.tensor(value), f"label {value} is none")
            for value in (8, -1, 255, 65535)
        ),
        *(("segmentation", _one_pixel(value), f"mask {value} is none") for value in (10, -1, 65535)),
        ("segmentation", lambda mask: mask[1:], "image and mask are 8x8 and 7x8"),
        ("segmentation", lambda mask: mask.new_zeros(8, 9), "image and mask are 8x8 and 8x9"),
        ("depth", lambda depth: depth[:, 1:], "image and depth are 8x8 and 7x8"),
    ],
)
def test_a_bad_target_of_the_last_image_stops_a_cell_before_its_first_step(
    replaced: Callable[..., None],
    tmp_path: Path,
    cell_of: Cells,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    change: Callable[[Tensor], Tensor],
    words: str,
) -> None:
    """Not after hours of attacking the images before it, nor after fitting a head."""
    real, kind = identity.dataset_of, identity.task_of(task).target

    def planted(text: str, split: str) -> object:
        return Planted(real(text, split), kind, change) if split == "test" else real(text, split)

    monkeypatch.setattr(identity, "dataset_of", planted)
    monkeypatch.setattr(inspection, "dataset_of", planted)
    monkeypatch.setattr(measuring, "model_of", lambda *_: pytest.fail("a model was made"))
    _wrap(replaced, "pgd", lambda *_, **__: pytest.fail("a step was made"))
    inspection.inspected.cache_clear()
    cell = cell_of("pgd(steps=1)", task, limit=None)
    for failed in _failures(tmp_path, [replace(cell, attack=None, eps=None, norm=None), cell]):
        assert failed is not None
        assert words in failed
        assert "scenes-0-test-000031" in failed


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two classes of four images in each split."""
    for split in ("train", "val", "test"):
        for label in "ab":
            for place in range(4):
                path = tmp_path / "photographs" / split / label / f"{place}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (200 * (label == "b") + place, 9, 9)).save(path)
    return tmp_path / "photographs"


@pytest.mark.parametrize("same_size_and_bytes", [False, True])
def test_images_that_change_under_way_give_no_number(
    tmp_path: Path, cell_of: Cells, photographs: Path, replaced: Callable[..., None], same_size_and_bytes: bool
) -> None:
    def swap(real: Callable[..., Tensor], *rest: object, **settings: object) -> Tensor:
        path = photographs / "test" / "b" / "3.png"
        colour = (203, 9, 8) if same_size_and_bytes else (1, 255, 3)
        Image.new("RGB", (8, 8), colour).save(path)
        return real(*rest, **settings)

    cell = cell_of("pgd(steps=1)", dataset=f"folder:{photographs}", limit=None)
    clean = replace(cell, attack=None, eps=None, norm=None)
    _wrap(replaced, "pgd", swap)
    whole, failed, after = _failures(tmp_path, [clean, cell, replace(cell, attack="noise")])
    assert whole is None
    assert failed is not None
    assert "(test split) were changed while they were measured" in failed
    assert after is not None, "its images are no longer those of its identity"


def test_no_head_is_kept_that_was_fitted_on_images_that_changed(
    cell_of: Cells, photographs: Path, monkeypatch: pytest.MonkeyPatch, fresh: Path
) -> None:
    real = probe.fit

    def swap(*rest: object, **settings: object) -> nn.Module:
        Image.new("RGB", (8, 8), (3, 2, 1)).save(photographs / "train" / "a" / "0.png")
        return real(*rest, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(probe, "fit", swap)
    with pytest.raises(CellError, match=r"\(train split\) were changed"):
        measure(cell_of(None, dataset=f"folder:{photographs}", limit=None), Machine())
    assert not list(fresh.glob("heads/**/*.safetensors"))


def test_targets_are_looked_at_once_a_run(cell_of: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    real = loading.inspect_targets
    monkeypatch.setattr(
        loading,
        "inspect_targets",
        lambda data, rows, task: seen.append((task.name, len(rows))) or real(data, rows, task),
    )
    inspection.inspected.cache_clear()
    for limit in (4, 4, 5):
        for attack in (None, "noise"):
            measure(cell_of(attack, limit=limit), Machine())
    measure(cell_of("noise", "segmentation", limit=4), Machine())
    assert seen == [("classification", 4), ("classification", 5), ("segmentation", 4)]


def test_headless_images_are_computed_once_for_all_tasks(
    fresh: Path, cell_of: Cells, replaced: Callable[..., None]
) -> None:
    calls: list[int] = []

    def counting(real: Callable[..., Tensor], model: Model, batch: object, *rest: object, **settings: object) -> Tensor:
        calls.append(len(batch.images))  # type: ignore[attr-defined]
        return real(model, batch, *rest, **settings)

    _wrap(replaced, "embed", counting)
    for task in TASKS:
        measure(cell_of("embed(tokens=cls, steps=2)", task), Machine(batch_size=8), "none")
    assert calls == [8, 8]
    for changes in ({"eps": 4 / 255}, {"seed": 1}, {"norm": "l2"}):
        measure(cell_of("embed(tokens=cls, steps=2)", **changes), Machine(batch_size=8), "none")
    measure(cell_of("embed(tokens=cls, steps=1)"), Machine(batch_size=8), "none")
    assert calls == [8, 8] * 5


def test_images_that_move_what_a_head_reads_serve_the_heads_that_read_the_same(
    fresh: Path, cell_of: Cells, replaced: Callable[..., None]
) -> None:
    calls: list[Sequence[str]] = []

    def counting(real: Callable[..., Tensor], model: Model, batch: object, *rest: object, **settings: object) -> Tensor:
        calls.append(tuple(model.reads))
        return real(model, batch, *rest, **settings)

    _wrap(replaced, "embed", counting)
    said = {task: measure(cell_of("embed(steps=2)", task), Machine(batch_size=8), "none")[0] for task in TASKS}
    assert calls == [reads for reads in (("pooled",), ("grid",), ("pooled", "grid")) for _ in range(2)]
    measure(cell_of("embed(steps=2)", "depth(max_depth=9)"), Machine(batch_size=8), "none")
    assert len(calls) == 6
    climbs = [result.made_by["climbs"] for result in said.values()]
    assert climbs == ["pooled", "grid", "pooled and grid"]
    assert "embed(steps=2) moves what the head reads: pooled in classification, grid in segmentation" in caption(
        list(said.values())
    )


def test_a_real_network_gives_the_same_in_any_batch(cell_of: Cells) -> None:
    """embedded:random has attention and normalisation, so images of a batch could leak into each other."""
    cell = cell_of(
        "pgd(steps=2)", encoder="embedded:random", limit=8, dataset="scenes(size=8, test=32, train=32, val=16)"
    )
    first, second = (_arrays(measure(cell, Machine(batch_size=size))[1]) for size in (3, 8))
    assert np.array_equal(first["correct"], second["correct"])
