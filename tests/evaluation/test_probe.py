"""Heads on frozen features: they learn what can be learnt, the best rate is chosen on held-out images, the seed
decides."""

from dataclasses import replace

import pytest
import torch

from brittle.core import components
from brittle.core.errors import CellError
from brittle.evaluation import heads, looks, probe, sampler
from brittle.evaluation.paper import protocol_of
from brittle.types import Features
from brittle.types.target import VOID

DIM, CLASSES = 12, 4
SHORT = replace(probe.STANDARD, steps=150, epochs=1)


@pytest.fixture(autouse=True)
def short(monkeypatch) -> None:
    monkeypatch.setattr("brittle.core.progress.quiet", True)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CENTRES = 3 * torch.randn(CLASSES, DIM, generator=generator(99))


def labelled(count: int, seed: int) -> list[tuple[Features, torch.Tensor]]:
    """Clusters a line apart, in two stored batches of half precision, as features are kept."""
    label = torch.randint(0, CLASSES, (count,), generator=generator(seed))
    pooled = CENTRES[label] + 0.5 * torch.randn(count, DIM, generator=generator(seed + 1))
    grid = pooled[:, :, None, None].expand(-1, -1, 2, 2)
    cut = count // 3
    return [(Features(pooled[part].half(), grid[part].half()), label[part]) for part in (slice(cut), slice(cut, None))]


def masked(count: int, seed: int) -> list[tuple[Features, torch.Tensor]]:
    """Each cell of the grid says its class, some places are void, images have two shapes."""
    rows = []
    for shape in ((4, 4), (3, 5)):
        label = torch.randint(0, CLASSES, (count // 2, *shape), generator=generator(seed))
        grid = CENTRES[label].movedim(-1, 1) + 0.3 * torch.randn(count // 2, DIM, *shape, generator=generator(seed + 1))
        mask = label.repeat_interleave(8, 1).repeat_interleave(8, 2)
        mask[:, :3] = VOID
        rows.append((Features(grid.mean((2, 3)).half(), grid.half()), mask))
    return rows


def fit(task_name: str, train, val, seed: int = 0, **changes) -> torch.nn.Module:
    task, recipe = components.build("tasks", task_name), replace(SHORT, **changes)
    return probe.fit(task, DIM, 8, CLASSES, train, val, seed=seed, recipe=recipe)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_classification_head_learns_what_a_line_separates() -> None:
    head = fit("classification", labelled(120, 0), labelled(60, 10))
    assert not head.training
    assert looks.evaluate(components.build("tasks", "classification"), head, 8, labelled(200, 20)) >= 0.99


def test_a_segmentation_head_learns_what_the_grid_says() -> None:
    task = components.build("tasks", "segmentation")
    head = fit("segmentation", masked(24, 0), masked(8, 10))
    found = {}
    for features, mask in masked(12, 20):
        size = (features.grid.shape[2] * 8, features.grid.shape[3] * 8)
        cells = head(Features(*(x.float() for x in features)), size).argmax(1)[:, 4::8, 4::8]
        found[size] = (cells == mask[:, 4::8, 4::8]).double().mean().item()
    assert min(found.values()) >= 0.95, found
    assert looks.evaluate(task, head, 8, masked(12, 20)) > 0.75, "only cells' edges may be wrong"


def test_a_depth_head_learns_more_than_the_mean() -> None:
    def rows(seed: int) -> list[tuple[Features, torch.Tensor]]:
        far = torch.rand(24, 1, 4, 4, generator=generator(seed))
        grid = far * CENTRES[0].view(1, DIM, 1, 1) + (1 - far) * CENTRES[1].view(1, DIM, 1, 1)
        depth = torch.nn.functional.interpolate(1 + 7 * far, size=(32, 32), mode="bilinear")
        return [(Features(grid.mean((2, 3)).half(), grid.half()), depth)]

    task = components.build("tasks", "depth")
    head = fit("depth", rows(0), rows(10))
    ((_, depth),) = rows(20)
    assert looks.evaluate(task, head, 8, rows(20)) < 0.5 * depth.flatten(1).std(dim=1).mean()


def test_the_best_of_the_grid_is_chosen_on_val() -> None:
    task, train, val = components.build("tasks", "classification"), labelled(120, 0), labelled(60, 10)
    good = fit("classification", train, val, rates=(1e-2,))
    chosen = fit("classification", train, val, rates=(1e-2, 1e25))
    assert same(chosen, good), "the rates beside it change nothing"
    for rates in ((1e25, 1e-2), (1e25, 1e-2, 1e25)):
        assert looks.evaluate(task, fit("classification", train, val, rates=rates), 8, val) >= 0.99
    turned = [(features, (label + 1) % CLASSES) for features, label in val]
    stubborn = fit("classification", train, turned, rates=(1e-2, 1e25))
    assert looks.evaluate(task, stubborn, 8, train) < 0.9, "val decides, not train"


def test_lower_is_better_is_respected() -> None:
    depth = torch.full((8, 1, 16, 16), 2.0)
    pooled, grid = torch.randn(8, DIM, generator=generator(0)), torch.randn(8, DIM, 2, 2, generator=generator(1))
    rows = [(Features(pooled, grid), depth)]
    task = components.build("tasks", "depth")
    chosen = fit("depth", rows, rows, rates=(1e-12, 1e-2))
    alone = [looks.evaluate(task, fit("depth", rows, rows, rates=(rate,)), 8, rows) for rate in (1e-12, 1e-2)]
    assert looks.evaluate(task, chosen, 8, rows) == pytest.approx(min(alone))
    assert alone[1] < alone[0]


@pytest.mark.parametrize("name", ["classification", "segmentation"])
def test_the_seed_decides_and_nothing_else(name) -> None:
    train, val = (labelled(60, 0), labelled(30, 10)) if name == "classification" else (masked(12, 0), masked(4, 10))
    one = fit(name, train, val, seed=3, rates=(1e-3,))
    torch.manual_seed(77)
    before = torch.get_rng_state()
    assert same(fit(name, train, val, seed=3, rates=(1e-3,)), one)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"
    assert not same(fit(name, train, val, seed=4, rates=(1e-3,)), one)


def test_of_large_maps_more_rates_take_no_more_memory(monkeypatch) -> None:
    """Of maps of logits for every pixel, those of one head are held at a time."""

    class Held:
        live = most = 0

        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor, self.size = tensor, tensor.numel()
            Held.live += self.size
            Held.most = max(Held.most, Held.live)

        def __del__(self) -> None:
            Held.live -= self.size

    def most(rates: tuple[float, ...]) -> int:
        Held.most = 0
        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            fit("segmentation", masked(12, 0), masked(4, 10), rates=rates, steps=12, halving=99)
        return Held.most

    assert most((1e-3, 3e-3, 1e-2)) > 2 * most((1e-3,)), "small ones are made at once"
    monkeypatch.setattr(probe, "MAPS", 1)
    assert most((1e-3, 3e-3, 1e-2)) == most((1e-3,)) > 0


def test_large_features_fill_the_memory_once_and_give_the_same_head(monkeypatch) -> None:
    rows = masked(12, 0)
    near = fit("segmentation", rows, masked(4, 10), steps=12)
    monkeypatch.setattr(sampler, "ROOM", 0)
    drawn = sampler.Sampler(rows, 16, generator(0), "cpu")
    held = {part.untyped_storage().data_ptr() for group in drawn.groups for parts in group.parts for part in parts}
    assert held == {part.untyped_storage().data_ptr() for features, mask in rows for part in (*features, mask)}
    assert same(fit("segmentation", rows, masked(4, 10), steps=12), near)


@pytest.mark.parametrize("scale", [0.03, 30.0])
@pytest.mark.parametrize("name", ["classification", "segmentation", "depth"])
def test_the_scale_of_the_features_plays_no_part(name, scale) -> None:
    def scaled(rows, by):
        return [(Features(*(by * part.float() for part in features)), target) for features, target in rows]

    def deep(rows):
        return [(features, 1.0 + (mask[:, None] % 7).float()) for features, mask in rows]

    train, val = (labelled(60, 0), labelled(30, 10)) if name == "classification" else (masked(12, 0), masked(4, 10))
    train, val = (deep(train), deep(val)) if name == "depth" else (train, val)
    task = components.build("tasks", name)
    found = [
        looks.evaluate(task, fit(name, scaled(train, by), scaled(val, by)), 8, scaled(val, by)) for by in (1.0, scale)
    ]
    assert found[0] == pytest.approx(found[1], abs=2e-3 if name != "depth" else 1e-2)


def test_a_fit_stops_when_no_head_gets_better(monkeypatch) -> None:
    drawn, real = [], sampler.Sampler.draw
    monkeypatch.setattr(sampler.Sampler, "draw", lambda self: drawn.append(1) or real(self))
    fit("classification", labelled(120, 0), labelled(60, 10), steps=400)
    assert 5 * 400 // probe.LOOKS < len(drawn) < 400
    drawn.clear()
    fit("classification", labelled(120, 0), labelled(60, 10), steps=400, patience=0)
    assert len(drawn) == 400


def test_the_better_half_of_dense_heads_goes_on(monkeypatch) -> None:
    """Scores by rate; the last rises to the top when it is gone already."""
    scores = {1.0: [0.1] * 20, 2.0: [0.3] * 20, 3.0: [0.4] * 20, 4.0: [float("nan")] * 20, 5.0: [0.2] * 4 + [0.9] * 16}
    rates, asked = tuple(scores), []

    def seen(task, predicted, rows, device) -> list[looks.Seen]:
        features, target = rows[0]
        weights = next(iter(predicted(features, target)))
        asked.append(len(weights))
        going = {5: rates, 3: (2.0, 3.0, 5.0), 2: (3.0, 5.0), 1: (5.0,)}[len(weights)]
        return [looks.Seen(scores[rate][len(asked) - 1], 0.0, 0.0) for rate in going]

    monkeypatch.setattr(looks, "seen", seen)
    head = fit("segmentation", masked(12, 0), masked(4, 10), rates=rates, steps=40, patience=20, halving=4)
    assert asked == [5] * 4 + [3] * 4 + [2] * 4 + [1] * 8
    assert head.rate == 5.0


def test_of_quick_heads_it_does_so_at_every_look(monkeypatch) -> None:
    asked, real, halving = [], looks.seen, probe.STANDARD.quickly().halving
    monkeypatch.setattr(looks, "seen", lambda *given: asked.append(list(real(*given))) or iter(asked[-1]))
    given = {"rates": (1e-4, 1e-3, 3e-3, 1e-2, 3e-2), "steps": 40, "patience": 20}
    fit("segmentation", masked(12, 0), masked(4, 10), **given, halving=halving)
    assert [len(seen) for seen in asked] == [5, 3, 2] + [1] * 17


def test_a_head_that_goes_on_is_that_of_its_rate_alone() -> None:
    """Its momentum and its mean go along."""
    given = {"steps": 80, "patience": 20}
    alone = fit("segmentation", masked(12, 0), masked(4, 10), rates=(1e-2,), **given)
    found = fit("segmentation", masked(12, 0), masked(4, 10), rates=(1e-7, 1e-6, 1e-5, 1e-2, 1e-8), **given)
    assert found.rate == alone.rate
    for one, other in zip(found.head.parameters(), alone.head.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_all_heads_of_a_count_of_images_go_on(monkeypatch) -> None:
    asked, real = [], looks.seen
    monkeypatch.setattr(looks, "seen", lambda *given: asked.append(list(real(*given))) or iter(asked[-1]))
    fit("classification", labelled(120, 0), labelled(60, 10), steps=40, patience=20)
    assert [len(seen) for seen in asked] == [len(SHORT.rates)] * probe.LOOKS


@pytest.mark.parametrize(
    ("count", "steps"), [(96, 2000), (716, 2000), (4096, 10_240), (20_000, 12_000), (1_281_167, 640_583)]
)
def test_how_long_a_head_is_fitted(count: int, steps: int) -> None:
    assert probe.STANDARD.total(count) == steps
    assert replace(probe.STANDARD, many=0, steps=1).total(count) == 8 * count // 16


def test_heads_of_labels_see_more_images_in_a_step() -> None:
    """Of few, the steps are too noisy: on Fashion-MNIST such heads did worse than a logistic regression."""
    rules = [
        protocol_of("standard", "scenes", components.build("tasks", task), 64) for task in ("classification", "depth")
    ]
    assert [rule.recipe for rule in rules] == [replace(probe.STANDARD, batch=256), probe.STANDARD]
    assert rules[0].recipe.total(4096) == 2000
    assert rules[0].recipe.total(1_281_167) == 40_036


def test_masks_may_be_kept_in_fewer_bits() -> None:
    small = [(features, mask.short()) for features, mask in masked(12, 0)]
    assert same(fit("segmentation", small, masked(4, 10)), fit("segmentation", masked(12, 0), masked(4, 10)))
    task, head = components.build("tasks", "segmentation"), fit("segmentation", small, small)
    assert looks.evaluate(task, head, 8, small) == looks.evaluate(task, head, 8, masked(12, 0))


def test_a_score_does_not_depend_on_how_features_were_stored() -> None:
    task, rows = components.build("tasks", "segmentation"), masked(80, 0)
    head = fit("segmentation", masked(24, 20), masked(8, 10))
    single = [
        (Features(f.pooled[i : i + 1], f.grid[i : i + 1]), mask[i : i + 1])
        for f, mask in rows
        for i in range(len(mask))
    ]
    assert max(len(mask) for _, mask in rows) > looks.BATCH
    assert looks.evaluate(task, head, 8, rows) == looks.evaluate(task, head, 8, single)


def test_no_head_with_a_finite_metric_is_an_error() -> None:
    void = [(features, torch.full_like(mask, VOID)) for features, mask in masked(4, 0)]
    with pytest.raises(CellError, match="val"):
        fit("segmentation", masked(8, 0), void)


@pytest.mark.parametrize(
    ("said", "rate"),
    [
        ([[(0.90, 10.0, 0.02), (0.91, 50.0, 0.02)]], 1.0),
        ([[(0.90, 10.0, 0.02), (0.93, 50.0, 0.02)]], 2.0),
        ([[(0.90, 10.0, 0.02), (0.89, 9.0, 0.02)], [(0.90, 11.0, 0.02), (0.95, 60.0, 0.02)]], 2.0),
        ([[(0.90, 10.0, 0.02), (0.80, 50.0, 0.02)], [(0.885, 9.0, 0.02), (0.92, 60.0, 0.02)]], 1.0),
        ([[(0.90, 10.0, 0.02), (0.91, 50.0, 0.02)], [(0.90, 12.0, 0.02), (0.91, 9.0, 0.02)]], 2.0),
        ([[(-0.4, 0.0, 0.0), (-0.3, 0.0, 0.0)], [(-0.3, 0.0, 0.0), (-0.31, 0.0, 0.0)]], 2.0),
        ([[(float("nan"), 0.0, 0.0), (-0.3, 0.0, 0.0)]], 2.0),
        ([[(1.0, 3.0, 0.0), (1.0, 1.0, 0.0)]], 0.0),
    ],
    ids=[
        "lower loss",
        "clearly better",
        "left behind",
        "not of the last look",
        "later",
        "no ties",
        "no number",
        "all right",
    ],
)
def test_of_heads_within_a_standard_error_of_the_best_the_lowest_loss_is_kept(said, rate, monkeypatch) -> None:
    seen = iter([[looks.Seen(*values) for values in look] for look in said])
    monkeypatch.setattr(looks, "seen", lambda *_: iter(next(seen)))
    monkeypatch.setattr(probe, "LOOKS", len(said))
    assert fit("classification", labelled(60, 0), labelled(30, 10), rates=(1.0, 2.0), steps=40).rate == rate


def test_a_head_that_has_all_images_right_is_left_a_slope() -> None:
    """On clusters far apart the loss would fall to 0 in float32, where PGD stands still."""
    task, rows = components.build("tasks", "classification"), labelled(60, 10)
    head = fit("classification", labelled(120, 0), rows, steps=2000)
    losses = torch.cat([task.loss(head(Features(*(x.float() for x in f)), ()), label) for f, label in rows])
    assert (losses > 1e-3).all()
    assert not heads.at_edge(head, SHORT), "no other rate could have done better"


def test_the_standard_error_is_that_of_a_proportion() -> None:
    task, rows = components.build("tasks", "classification"), labelled(200, 0)
    head = fit("classification", labelled(60, 0), labelled(30, 10))
    wrong = [
        (features, torch.where(torch.arange(len(label)) < 25, (label + 1) % CLASSES, label)) for features, label in rows
    ]
    (seen,) = looks.seen(task, lambda f, y: iter([head(f, ())[None]]), wrong, torch.device("cpu"))
    assert seen.score == pytest.approx(0.75)
    assert seen.error == pytest.approx((0.75 * 0.25 / 200) ** 0.5)


@pytest.mark.parametrize(("rate", "which"), [(1e-3, "lowest"), (1e-1, "highest"), (1e-2, "")])
def test_a_rate_at_the_edge_of_those_tried_is_said(rate, which) -> None:
    head = torch.nn.Linear(1, 1)
    head.rate = torch.tensor(rate, dtype=torch.float64)
    found = heads.at_edge(head, probe.Recipe())
    assert [which in finding.why and f"{rate:g}" in finding.why for finding in found] == ([True] if which else [])
    assert not heads.at_edge(head, replace(probe.Recipe(), rates=(rate,))), "one is no choice"
    assert not heads.at_edge(torch.nn.Linear(1, 1), probe.Recipe()), "nothing was fitted"


def test_without_any_of_ours_it_is_a_plain_loop_of_torch() -> None:
    """The paper's recipe: a head in training mode, whose batch norm takes each batch's own statistics, and one rate."""
    task = components.build("tasks", "segmentation")
    train, val = [masked(12, 0)[0]], [masked(4, 10)[0]]
    plain = {"schedule": "constant", "standardise": False, "patience": 0, "fine": 0, "rates": (1e-2,), "batch": 4}
    ours = fit("segmentation", train, val, seed=3, steps=10, epochs=0, **plain)
    head = task.head(DIM, CLASSES)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-2, weight_decay=1e-4)
    drawn = sampler.Sampler(train, 4, generator(3), "cpu")
    for _ in range(10):
        features, mask = drawn.draw()
        optimiser.zero_grad()
        task.loss(head(features, mask.shape[-2:]), mask).mean().backward()
        optimiser.step()
    for name, tensor in head.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[f"head.{name}"], tensor, rtol=1e-4, atol=1e-5)


def test_quick_heads_take_fewer_steps_where_images_are_few_and_see_each_as_often_where_they_are_many() -> None:
    full = probe.Recipe()
    quick = full.quickly()
    assert (full.total(768), quick.total(768)) == (2000, 600)
    assert quick.total(10**6) == full.total(10**6) == full.epochs * 10**6 // full.batch
    assert (quick.rates, quick.optimiser, quick.schedule) == (full.rates, full.optimiser, full.schedule)
    assert replace(full, steps=12).quickly().steps == 12
    task = components.build("tasks", "depth")
    rules = [protocol_of(text, "scenes", task, 64) for text in ("standard", "standard(heads=quick)")]
    assert [rule.recipe for rule in rules] == [full, quick]
    assert [("heads fitted quickly" in rule.describe()) for rule in rules] == [False, True]
