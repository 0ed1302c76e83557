"""What checks are handed: a sample spread over all images, notes of each, work that fits into memory; and when a
difference counts."""

import importlib

import pytest
import torch
from tiny import VOID, evidence
from torch import Tensor, nn

import brittle
from brittle.attacks.parts.halving import join, split_on_oom
from brittle.attacks.parts.run import attacked
from brittle.checks.parts.evidence import MOST, exceeds, findings, sample_size
from brittle.core import components
from brittle.core.errors import CellError
from brittle.evaluation.scoring import Scores, Scoring
from brittle.types import Batch, Model
from brittle.types.attack_log import Attacked, AttackLog
from brittle.types.rng import Rng
from brittle.types.threat import Threat

THREAT = Threat("linf", 8 / 255)


def _logits(images: Tensor) -> Tensor:
    return images.mean((2, 3)) * torch.tensor([1.0, 2.0, -1.0])


def _batch(ids: range, side: int = 8) -> Batch:
    images = torch.stack([torch.rand(3, side, side, generator=torch.Generator().manual_seed(i)) for i in ids])
    return Batch(images, _logits(images).argmax(1), [str(i) for i in ids])


def _tallied(batches: list[Batch], task: str = "classification", head: object = _logits) -> tuple[Scoring, Scores]:
    model = Model(components.build("tasks", task), head).eval()  # type: ignore[arg-type]
    tally = Scoring(model, THREAT, sum(len(batch.ids) for batch in batches))
    for batch in batches:
        tally.add(batch, Attacked.unlogged(batch.images))
    return tally, tally.scores()


@pytest.mark.parametrize(("count", "size"), [(0, 0), (1, 1), (6, 6), (32, 6), (128, 8), (1024, 64), (50_000, MOST)])
def test_how_many_images_are_kept(count: int, size: int) -> None:
    assert sample_size(count) == size


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_sample_is_spread_over_all_images_however_they_are_batched(batch_size: int) -> None:
    batches = [_batch(range(start, min(start + batch_size, 160))) for start in range(0, 160, batch_size)]
    tally, scores = _tallied(batches)
    found = tally.evidence("pgd", 0, "fp32", scores, full=False)
    assert list(found.batch.ids) == [str(16 * i) for i in range(10)]
    assert torch.equal(found.images, found.batch.images)
    assert torch.equal(found.batch.images, torch.cat([batch.images for batch in batches])[::16])
    assert found.at_once == min(batch_size, 160)


def test_the_sample_is_of_one_size() -> None:
    tally, scores = _tallied([_batch(range(i, i + 1), side=8 + 2 * (i % 3)) for i in range(96)])
    found = tally.evidence("pgd", 0, "fp32", scores, full=False)
    assert list(found.batch.ids) == [str(i) for i in (0, 18, 33, 48, 66, 81)]  # every 16th, or the next of that size


def test_targets_are_of_one_size_too() -> None:
    batches: list[Batch] = []
    for i in range(12):
        mask = torch.zeros(1, 8 + 4 * (i % 2), 8, dtype=torch.long)
        batches.append(Batch(torch.rand(1, 3, 8, 8), mask, [str(i)]))
    tally, scores = _tallied(batches, "segmentation", lambda images: images)
    found = tally.evidence("pgd", 0, "fp32", scores, full=False)
    assert list(found.batch.ids) == ["0", "2", "4", "6", "8", "10"]


def test_void_images_are_not_in_the_sample() -> None:
    mask = torch.zeros(24, 8, 8, dtype=torch.long)
    mask[:5] = VOID
    mask[8:13] = VOID
    images = torch.rand(24, 3, 8, 8)
    tally, scores = _tallied([Batch(images, mask, [str(i) for i in range(24)])], "segmentation", lambda images: images)
    found = tally.evidence("pgd", 0, "fp32", scores, full=False)
    assert list(found.batch.ids) == ["5", "6", "13", "14", "16", "20"]
    assert found.clean.damage.isfinite().all()
    assert not found.left[[*range(5), *range(8, 13)]].any()


def test_nothing_is_kept_where_nothing_is_checked() -> None:
    tally = Scoring(Model(components.build("tasks", "classification"), _logits).eval(), THREAT)
    tally.add(_batch(range(4)), Attacked.unlogged(_batch(range(4)).images))
    assert tally.wanted == 0
    assert not tally._kept


@pytest.mark.parametrize(
    "attack", ["worst(attacks=[pgd(steps=2), noise])", "apgd(objective=dlr(normalised=false), targets=2, steps=3)"]
)
def test_an_ensembles_notes_are_of_every_image(attack: str) -> None:
    """Also of those that were wrong before, which go to the first member alone, and of those that an inner ensemble
    dropped."""
    batch = _batch(range(12))
    batch.target[2:6] += 1
    batch.target[:] %= 3
    model = Model(components.build("tasks", "classification"), _logits).eval()
    wrong = _logits(batch.images).argmax(1) != batch.target
    assert wrong.sum() == 4
    for text in (attack, f"worst(attacks=[{attack}])"):
        log = AttackLog()
        attacked(model, text, batch, THREAT, Rng(0, batch.ids), precision="fp32", log=log)
        summary = log.summary(12)
        assert all(value.shape == (12,) for value in summary.values())
        assert not summary["loss_best"].isnan().any()
        assert not summary["flat"].isnan().any()
        first = nn.functional.cross_entropy(_logits(batch.images), batch.target, reduction="none")
        assert torch.all((summary["loss_best"] >= first - 1e-3) | wrong)


def test_a_greedy_ensemble_has_a_place_for_every_member() -> None:
    """A batch that the first member beats altogether still has as many candidates as others."""
    model = Model(
        components.build("tasks", "segmentation"),
        lambda images: 1e3 * (images.mean((2, 3), keepdim=True) - 0.5).expand_as(images),
    ).eval()
    images = torch.full((2, 3, 8, 8), 0.5)
    images[:, 0] += 1e-4
    batch = Batch(images, torch.zeros(2, 8, 8, dtype=torch.long), ["a", "b"])
    log = AttackLog()
    log.collect = True
    attacked(model, "sea(steps=6)", batch, THREAT, Rng(0, batch.ids), precision="fp32", log=log)
    assert len(log.candidates) == 15  # two of which are longer runs of others


def test_the_last_quarter_is_that_of_the_last_climb() -> None:
    log = AttackLog()
    for climb in ([0.0, 1.0, 2.0, 3.0, 9.0], [0.0, 1.0, 4.0, 5.0, 6.0]):
        log.begin()
        for value in climb:
            log.note(torch.zeros(1), torch.tensor([value]))
    found = {key: value.item() for key, value in log.summary(1).items()}
    assert [found[f"loss_{name}"] for name in ("first", "late", "last", "best")] == [0.0, 5.0, 6.0, 9.0]
    model, batch = Model(components.build("tasks", "classification"), _logits).eval(), _batch(range(3))
    for attack in ("pgd(steps=4, restarts=3)", "apgd(steps=4, restarts=3)"):
        log = AttackLog()
        attacked(model, attack, batch, THREAT, Rng(0, batch.ids), precision="fp32", log=log)
        assert (len(log.losses), log._began) == (15, 10)


def test_a_difference_counts_where_luck_cannot_explain_it() -> None:
    zero = torch.zeros(8)

    def ones(count: int) -> Tensor:
        return (torch.arange(8) < count).double()

    assert [exceeds(ones(count), zero, 1.0)[1] for count in (0, 1, 2, 3, 8)] == ["ok", "warn", "warn", "fail", "fail"]
    assert exceeds(zero, ones(8), 1.0) == (-1.0, "ok")
    assert exceeds(zero + 0.009, zero, 1.0)[1] == "ok"
    assert exceeds(zero + 0.011, zero, 1.0)[1] == "fail"
    assert exceeds(zero + 0.011, zero, 5.0)[1] == "ok"
    assert exceeds(zero[:1] + 1, zero[:1], 1.0) == (1.0, "warn")
    assert exceeds(zero * torch.nan, zero, 1.0) == (0.0, "unchecked")
    assert exceeds(torch.tensor([1.0, torch.nan, 1.0]), zero[:3], 1.0) == (1.0, "fail")


def test_work_is_halved_until_it_fits() -> None:
    sizes: list[int] = []

    def hungry(batch: Batch) -> dict[str, Tensor]:
        sizes.append(len(batch.images))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA")
        return {"images": batch.images + 1}

    batch = _batch(range(12))
    assert torch.equal(split_on_oom(hungry, join, batch)["images"], batch.images + 1)
    assert sizes == [12, 6, 3, 3, 6, 3, 3]

    def never(batch: Batch) -> dict[str, Tensor]:
        raise RuntimeError("DefaultCPUAllocator: no")

    with pytest.raises(CellError, match="out of memory"):
        split_on_oom(never, join, batch)
    with pytest.raises(RuntimeError, match="else"):
        split_on_oom(lambda _: (_ for _ in ()).throw(RuntimeError("something else")), join, batch)


def test_checks_take_no_more_at_once_than_the_number_did(monkeypatch: pytest.MonkeyPatch) -> None:
    made = evidence("segmentation", count=12, at_once=2)
    sizes: list[int] = []
    handle = made.model.register_forward_hook(lambda _m, inputs, _o: sizes.append(len(inputs[0])))
    found = made.again(made.batch), made.clean
    handle.remove()
    assert set(sizes) == {2}
    whole = evidence("segmentation", count=12, at_once=12)
    torch.testing.assert_close(found[0], whole.again(whole.batch), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[1].loss, whole.clean.loss)
    assert torch.equal(found[1].classes, whole.clean.classes)


def test_the_black_box_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another attack in the place of the one there may not be."""
    module = importlib.import_module("brittle.checks.blackbox")
    monkeypatch.setattr(module, "ATTACK", "pgd(steps=10)")
    assert module.blackbox(evidence(eps=0.4)).verdict == "ok"
    assert module.blackbox(evidence(eps=0.4, idle=True)).verdict == "fail"


def test_what_checks_say_of_an_attack_that_helps_the_model() -> None:
    """One sentence each that says what was seen, with the right sign."""

    def helps(model: Model, batch: Batch, threat: Threat, _rng: object) -> Tensor:
        with torch.enable_grad():
            images = batch.images.requires_grad_()
            (gradient,) = torch.autograd.grad(model.task.loss(model(images), batch.target).sum(), images)
        for place in (
            batch.images,
            better := threat.project(batch.images, batch.images - threat.eps * gradient.sign()),
        ):
            model.log.note(place, model.task.loss(model(place), batch.target))
        return better.detach()

    batch = _batch(range(8))
    said = {finding.name: finding for finding in brittle.check(_logits, batch.images, batch.target, attack=helps)}
    assert said["start"].verdict == "fail"
    assert "the task's loss fell by" in said["start"].why
    assert "100.0% of the images not all wrong had no iterate above" in said["start"].why
    assert "when clean" in said["floor"].why
    assert said["softmax"].why.startswith("the model's outputs are no probabilities: over the classes they sum to")
    assert not any("damage" in finding.why or "by -" in finding.why for finding in said.values())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator"), MemoryError()])
def test_checks_are_halved_too_and_memory_is_no_verdict(error: Exception) -> None:
    batch, most = _batch(range(8)), 2

    def small(images: Tensor) -> Tensor:
        if len(images) > most:
            raise error
        return _logits(images)

    found = brittle.check(small, batch.images, batch.target, attack="pgd(steps=2)")
    assert found == brittle.check(_logits, batch.images, batch.target, attack="pgd(steps=2)")
    tally, scores = _tallied([batch])
    most = 0
    object.__setattr__(tally.model, "head", small)
    attack = components.complete("attacks", "pgd(steps=2)")
    said = findings(tally.evidence(attack, 0, "fp32", scores, full=False))
    stopped = [finding for finding in said if "out of memory" in finding.why]
    assert len(stopped) > 4
    assert {finding.verdict for finding in stopped} == {"unchecked"}
