"""Each quirk of the paper's code by itself, on values computed by hand or by another formula."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.records import Cell
from brittle.evaluation import paper, protocol, quirks
from brittle.evaluation.inspection import drawn
from brittle.evaluation.subset import describe, subset
from brittle.planning import protocols
from brittle.planning.identity import dataset_of, resolve, task_of
from brittle.types import Batch, Encoder, Features, Look, Model, Sample
from brittle.types.target import VOID

CLASSIFY, SEGMENT, DEPTH = (task_of(name) for name in ("classification", "segmentation", "depth"))
PIXELS = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Cells(Encoder):
    """The normalised mean colour of cells of 4 pixels."""

    def __init__(self, patch: int = 4) -> None:
        super().__init__(3, patch, size=8, mean=(0.5, 0.4, 0.3), std=(0.229, 0.2, 0.1), about={})

    def forward(self, images: Tensor) -> Features:
        grid = torch.nn.functional.avg_pool2d(self.normalise(images), self.patch)
        return Features(grid.mean((2, 3)), grid)

    def at_layers(self, images: Tensor, indices: Sequence[int], *, norm: bool = False) -> list[Features]:
        return [self(images)]


def model_of(task, prediction: Tensor | None = None, **options) -> Model:
    """A model whose prediction is the grid at the image's size, or what is given."""

    def head(features: Features, size: Sequence[int]) -> Tensor:
        if prediction is not None:
            return prediction + 0 * features.pooled.sum()
        return torch.nn.functional.interpolate(features.grid, size=tuple(size))

    return Model(task, head, Cells(), **options)


def rule_of(task, *names: str, dataset: str = "scenes", size: int = 8) -> protocol.Protocol:
    return paper.protocol_of(f"paper(quirks=[{', '.join(names)}])", dataset, task, size)


def cell_of(task: str, attack: str | None, *names: str, **changes) -> Cell:
    text = protocols.canonical(f"paper(quirks=[{', '.join(names)}])")
    return Cell("embedded:random", "scenes(test=2000)", task, attack, 0.1, "linf", 0, changes.get("limit"), text)


def test_a_protocol_with_quirks_has_one_spelling() -> None:
    spelled = protocols.canonical("paper(quirks=[double_softmax, std_228, double_softmax])")
    assert spelled == "paper(quirks=[std_228, double_softmax])" == protocols.canonical(spelled)
    assert protocols.canonical("paper(quirks=std_228)") == "paper(quirks=[std_228])"
    assert protocols.canonical("paper(quirks=[])") == "paper"
    every = f"paper(quirks=[{', '.join(protocols.QUIRKS)}])"
    assert protocols.canonical(every) == "paper(quirks=all)" == protocols.canonical("paper(quirks=all)")
    assert protocols.quirks_of("paper(quirks=all)") == list(protocols.QUIRKS)
    for wrong in ("paper(quirks=[std_229])", "standard(quirks=[std_228])", "paper(quirk=all)", "papers", "paper:x"):
        with pytest.raises(UsageError) as refused:
            protocols.canonical(wrong)
        assert "\n" not in str(refused.value)


def test_without_quirks_a_model_stays_as_it_is() -> None:
    for task in (CLASSIFY, DEPTH):
        model, rule = model_of(task), rule_of(task)
        assert quirks.attacked(model, frozenset(), rule) is model
        assert quirks.scored(model, frozenset(), rule, "head") is model
        assert quirks.encoder_of(model.encoder, rule) is model.encoder


# --- fields -----------------------------------------------------------------------------------------------------------


def test_the_papers_fields() -> None:
    rule = rule_of(CLASSIFY)
    assert (rule.crop, rule.recipe.optimiser, rule.recipe.rates, rule.recipe.epochs) == (True, "adam", (0.5,), 5)
    assert rule.recipe.batch == 128
    for size, stride in ((224, 100), (518, 341)):
        rule = rule_of(SEGMENT, dataset="cityscapes:nowhere", size=size)
        assert (rule.resize, rule.window, rule.stride, rule.background) == ("short", size, stride, None)
        assert protocol.standard("cityscapes:nowhere", SEGMENT, size).resize == "none"
        across = protocol.windows.places(size, 2 * size, rule.window, rule.stride)
        assert len(across) in (3, 4)
    assert (rule.recipe.optimiser, rule.recipe.rates, rule.recipe.decay) == ("adamw", (1e-3,), 1e-4)
    assert (rule.recipe.batch, rule.recipe.epochs) == (16, 50)
    assert rule_of(SEGMENT, dataset="voc2012:nowhere").background == 0
    assert protocol.standard("voc2012:nowhere", SEGMENT, 8).background is None
    rule = rule_of(DEPTH, dataset="nyu_depth_v2:nowhere", size=518)
    assert (rule.resize, rule.window, rule.valid, rule.look) == ("none", 0, None, Look((-1,), norm=False))
    assert (rule.recipe.rates, rule.recipe.decay, rule.recipe.batch, rule.recipe.epochs) == ((1e-4,), 1e-2, 128, 20)
    assert rule.moved == ("grid",)
    assert list(rule.reads) == ["pooled", "grid"]


def test_a_thousand_images_are_classified() -> None:
    assert drawn(cell_of("classification", None)) == (1000, "balanced")
    assert drawn(cell_of("classification", None, limit=7)) == (7, "balanced")
    assert drawn(cell_of("segmentation", None))[0] is None
    standard = replace(cell_of("classification", None), protocol="standard")
    assert drawn(standard) == (None, "balanced")


def test_background_is_left_out_of_miou_and_the_usual_one_stands_beside_it() -> None:
    """Truth 0 0 1 / 2 1 1, predicted 0 1 1 / 2 0 2: without the first two pixels class 1 has 1 of 3, class 2 has 1 of
    2; with them class 0 has 1 of 3, and class 1 has 1 of 4."""
    truth = torch.tensor([[[0, 0, 1], [2, 1, 1]]])
    logits = torch.nn.functional.one_hot(torch.tensor([[[0, 1, 1], [2, 0, 2]]]), 3).movedim(3, 1).float()
    task = quirks.scored(model_of(SEGMENT), frozenset(), rule_of(SEGMENT), "").task
    metrics = task.summarise({key: value.sum(0) for key, value in task.score(logits, truth).items()})
    # class 0, where it is predicted for a pixel of class 1, still counts among the classes that occur
    assert metrics["miou"] == pytest.approx((0 / 1 + 1 / 3 + 1 / 2) / 3)
    assert metrics["miou_all"] == pytest.approx((1 / 3 + 1 / 4 + 1 / 2) / 3)
    assert "miou_all" in task.shares
    assert "miou_all" not in SEGMENT.summarise({k: v.sum(0) for k, v in SEGMENT.score(logits, truth).items()})


# --- images and targets -----------------------------------------------------------------------------------------------


def test_std_228() -> None:
    encoder = Cells()
    changed = quirks.encoder_of(encoder, rule_of(CLASSIFY, "std_228"))
    wanted = torch.nn.functional.avg_pool2d(
        (PIXELS - encoder.mean) / torch.tensor([0.228, 0.2, 0.1]).view(1, 3, 1, 1), 4
    )
    torch.testing.assert_close(changed(PIXELS).grid, wanted)
    assert changed.std.flatten().tolist() == pytest.approx([0.228, 0.2, 0.1])


def test_nearest_images_and_resized_masks() -> None:
    image = torch.arange(16, dtype=torch.uint8).repeat(3, 16, 1) * 15
    mask = torch.arange(16).repeat(16, 1)
    sample = Sample(image, {"mask": mask})
    seen, target = protocol.preprocess(sample, SEGMENT.target, rule_of(SEGMENT, "nearest_images"))
    assert torch.equal(seen, image[:, ::2, ::2] / 255)
    assert torch.equal(target, mask)
    seen, target = protocol.preprocess(sample, SEGMENT.target, rule_of(SEGMENT, "resized_masks"))
    assert torch.equal(target, mask[::2, ::2])
    assert not torch.equal(seen, image[:, ::2, ::2] / 255)


def test_void_as_background() -> None:
    mask = torch.tensor([[1, VOID], [VOID, 2]])
    sample = Sample(torch.zeros(3, 2, 2, dtype=torch.uint8), {"mask": mask})
    names = ("void_as_background",)
    _, target = protocol.preprocess(sample, SEGMENT.target, rule_of(SEGMENT, *names, dataset="voc2012:x", size=2))
    assert target.tolist() == [[1, 0], [0, 2]]
    _, target = protocol.preprocess(sample, SEGMENT.target, rule_of(SEGMENT, *names, dataset="ade20k:x", size=2))
    assert torch.equal(target, mask)


def test_random_flips() -> None:
    batch = Batch(torch.rand(64, 3, 4, 4), torch.rand(64, 1, 4, 4), [f"image {i}" for i in range(64)])
    names = frozenset({"random_flips"})
    (one,), (other,), (again,) = (
        list(quirks.turned([batch], cell_of("depth", attack, *names), DEPTH, names))
        for attack in ("embed", "depthpgd", "embed")
    )
    turned = [not torch.equal(a, b) for a, b in zip(one.images, batch.images)]
    assert 16 < sum(turned) < 48
    for row, flipped in enumerate(turned):
        wanted = [part[row].flip(-1) if flipped else part[row] for part in (batch.images, batch.target)]
        assert torch.equal(one.images[row], wanted[0])
        assert torch.equal(one.target[row], wanted[1])
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.images, other.images)
    assert next(iter(quirks.turned([batch], cell_of("depth", None), DEPTH, frozenset()))) is batch


def test_shuffled_images() -> None:
    data = dataset_of("scenes(test=2000)", "test")
    rules = [drawn(cell_of("classification", attack, "shuffled_images")) for attack in (None, "embed", "pgd", "pgd")]
    chosen = [set(subset(data, *rule)) for rule in rules]
    assert [len(some) for some in chosen] == [1000] * 4
    assert chosen[0] != chosen[1] != chosen[2] == chosen[3]
    assert 400 < len(chosen[0] & chosen[1]) < 600
    assert drawn(cell_of("segmentation", "segpgd", "shuffled_images"))[1] == "balanced"
    assert describe(1000, data, rules[1][1]) == "1000 of 2000 images drawn anew for each number"


def test_chosen_on_test() -> None:
    assert rule_of(SEGMENT, "chosen_on_test").chosen_on == "test"
    assert rule_of(SEGMENT).chosen_on == "val"


@pytest.mark.parametrize(("patch", "cells"), [(4, 3), (7, 2), (14, 1)])
def test_padding_14(patch: int, cells: int) -> None:
    """8 pixels become 3 + 8 + 3, of which whole patches from the top left remain."""
    encoder = Cells(patch)
    grid = quirks.encoder_of(encoder, rule_of(DEPTH, "padding_14"))(PIXELS).grid
    padded = torch.nn.functional.pad(encoder.normalise(PIXELS), (3, 3, 3, 3))
    torch.testing.assert_close(grid, torch.nn.functional.avg_pool2d(padded, patch))
    assert grid.shape[-2:] == (cells, cells)
    assert rule_of(SEGMENT, "padding_14").pad == 0


# --- attacks ----------------------------------------------------------------------------------------------------------


def test_double_softmax_and_divided_logits() -> None:
    logits = torch.tensor([[4.0, 2.0, -1.0], [0.5, 0.2, -3.0]])
    seen = quirks.attacked(model_of(CLASSIFY, logits), frozenset({"divided_logits"}), rule_of(CLASSIFY))
    torch.testing.assert_close(seen(PIXELS), torch.tensor([[1.0, 0.5, -0.25], [0.5, 0.2, -3.0]]))
    maps = torch.randn(2, 3, 8, 8)
    seen = quirks.attacked(model_of(SEGMENT, maps), frozenset({"double_softmax"}), rule_of(SEGMENT))
    torch.testing.assert_close(seen(PIXELS), maps.exp() / maps.exp().sum(1, keepdim=True))
    target = torch.zeros(2, 8, 8, dtype=torch.long)
    climbed = components.build("objectives", "task_loss", seen, Batch(PIXELS, target, ["a", "b"]))(PIXELS, 0.0)
    share = seen(PIXELS)
    torch.testing.assert_close(climbed, -(share[:, 0] - share.logsumexp(1)).mean((1, 2)))
    assert torch.equal(quirks.scored(seen, frozenset({"double_softmax"}), rule_of(DEPTH), "head")(PIXELS), share)


def test_softmax_windows() -> None:
    images = torch.rand(1, 3, 8, 10)
    model = model_of(SEGMENT, window=8, stride=2)
    for make in (
        lambda: quirks.attacked(model, frozenset({"softmax_windows"}), rule_of(SEGMENT)),
        lambda: quirks.scored(model, frozenset({"softmax_windows"}), rule_of(SEGMENT), "head"),
    ):
        left, right = (model_of(SEGMENT)(part).softmax(1) for part in (images[..., :8], images[..., 2:]))
        wanted = torch.cat([left[..., :2], (left[..., 2:] + right[..., :6]) / 2, right[..., 6:]], 3)
        torch.testing.assert_close(make()(images).softmax(1), wanted)
    assert not torch.allclose(model(images).softmax(1), wanted)


def test_groups_apart_and_background_ignored() -> None:
    """Five pixels of classes 1 0 2 1 void: of those that count two are right and two wrong, or, without class 0, one
    right and two wrong."""
    target = torch.tensor([[[1, 0, 2, 1, VOID]]])
    logits = torch.nn.functional.one_hot(torch.tensor([[[1, 0, 0, 2, 1]]]), 3).movedim(3, 1).float() * 2
    each = torch.nn.functional.cross_entropy(logits, target, ignore_index=VOID, reduction="none")[0, 0]
    batch = Batch(torch.rand(1, 3, 1, 5), target, ["a"])
    for names, right, wrong in (
        ({"groups_apart"}, each[:2].mean(), each[2:4].mean()),
        ({"groups_apart", "background_ignored"}, each[0], each[2:4].mean()),
        ({"background_ignored"}, each[0] / 5, each[2:4].sum() / 5),
    ):
        model = Model(SEGMENT, lambda images: logits + 0 * images.sum())
        seen = quirks.attacked(model, frozenset(names), rule_of(SEGMENT))
        for progress in (0.0, 0.5):
            climbed = components.build("objectives", "segpgd", seen, batch)(batch.images, progress)
            torch.testing.assert_close(climbed[0], (1 - progress / 2) * right + progress / 2 * wrong)
    alone = Batch(batch.images, torch.tensor([[[1, 1, 1, 1, 1]]]), ["a"])
    found = components.build("objectives", "segpgd", seen, alone._replace(target=target * 0 + 1))(batch.images, 0.0)
    assert found.isfinite().all()


def depth_pair() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    prediction, target = (0.5 + 3 * torch.rand(2, 1, 16, 20, generator=generator) for _ in range(2))
    target[0, 0, :3] = 0
    return prediction, target, target > 0


def test_sigloss_warmup() -> None:
    prediction, target, valid = depth_pair()
    seen = quirks.attacked(model_of(DEPTH, prediction), frozenset({"sigloss_warmup", "gradient_rows"}), rule_of(DEPTH))
    plain = quirks.attacked(model_of(DEPTH, prediction), frozenset({"gradient_rows"}), rule_of(DEPTH))
    for row in range(2):
        gap = ((prediction + 1e-3).log() - (target + 1e-3).log())[row][valid[row]]
        usual = math.sqrt(gap.var() + 0.15 * gap.mean() ** 2)
        changed = seen.task.loss(prediction, target)[row] - plain.task.loss(prediction, target)[row]
        assert changed.item() == pytest.approx(0.15**0.5 * abs(gap.mean().item()) - usual, abs=1e-5)


def test_gradient_rows() -> None:
    """The published formula for one map [H,W], given a batch of one map [1,H,W] as the paper's code does."""
    prediction, target, _ = depth_pair()
    seen = quirks.attacked(model_of(DEPTH, prediction), frozenset({"gradient_rows"}), rule_of(DEPTH))
    both = quirks.attacked(model_of(DEPTH, prediction), frozenset({"gradient_rows", "sigloss_warmup"}), rule_of(DEPTH))
    for row in range(2):
        p, t, total = prediction[row].double(), target[row].double(), 0.0
        for step in (1, 2, 4, 6):
            small, truth = (part[::step, ::step] for part in (p, t))
            gap = torch.where(truth > 0, (small + 1e-3).log() - (truth + 1e-3).log(), 0)
            both_rows = (truth[:, :-2] > 0) & (truth[:, 2:] > 0)
            total += float(((gap[:, :-2] - gap[:, 2:]).abs() * both_rows).sum() / (truth > 0).sum())
        valid = t > 0
        mean = ((p + 1e-3).log() - (t + 1e-3).log())[valid].mean().abs().item()
        wanted = 0.5 * total + 0.15**0.5 * mean
        assert both.task.loss(prediction, target)[row].item() == pytest.approx(wanted, rel=1e-5)
        assert seen.task.loss(prediction, target)[row] != both.task.loss(prediction, target)[row]


def test_last_iterate() -> None:
    for attack, wanted in (
        ("embed", "keep=last"),
        ("pgd(steps=3)", "keep=last"),
        ("pgd(keep=score)", "keep=score"),
        ("noise", "noise"),
    ):
        part = resolve(cell_of("classification", attack, "last_iterate"), weights="w").attack
        assert wanted in str(part.spec)
        assert "keep=last" not in str(resolve(cell_of("classification", attack), weights="w").attack.spec)


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padded", [False, True])
def test_unnormalised_dense(padded: bool) -> None:
    names = ["unnormalised_dense", *(["padding_14"] if padded else [])]
    task = DEPTH if padded else SEGMENT
    rule, model = rule_of(task, *names), model_of(task)
    model.encoder = quirks.encoder_of(model.encoder, rule)
    seen = {
        sees: quirks.scored(model, frozenset(names), rule, sees).encode(PIXELS).grid for sees in ("head", "encoder")
    }
    fed = torch.nn.functional.pad(PIXELS, (3, 3, 3, 3)) if padded else PIXELS
    torch.testing.assert_close(seen["head"], torch.nn.functional.avg_pool2d(fed, 4))
    torch.testing.assert_close(seen["encoder"], model.encode(PIXELS).grid)
    assert quirks.scored(model_of(CLASSIFY), frozenset(names), rule_of(CLASSIFY), "head").encoder.std[0, 0, 0, 0] != 1


def test_depth_unmasked() -> None:
    prediction = torch.tensor([[[[2.0, 1.0], [4.0, 3.0]]]])
    target = torch.tensor([[[[2.0, 0.0], [5.0, 11.0]]]])  # 0 is not known, and 11 m is beyond 10
    names = frozenset({"depth_unmasked"})
    for sees, wanted in (("head", math.sqrt((0 + 1 + 1 + 64) / 4)), ("", math.sqrt(1 / 2))):
        task = quirks.scored(model_of(DEPTH), names, rule_of(DEPTH), sees).task
        rows = task.score(prediction, target)
        metrics = task.summarise({key: value.sum(0) for key, value in rows.items()})
        assert metrics["rmse"] == pytest.approx(wanted)
        assert metrics["rmse_pooled"] == pytest.approx(wanted)
        assert task.damage(rows).item() == pytest.approx(wanted)


def test_precision_as_accuracy() -> None:
    """Predicted 0 0 0 1 for truth 0 1 1 1: recall is 1 and 1/3, precision 1/3 and 1."""
    truth = torch.tensor([[[0, 1, 1, 1]]])
    logits = torch.nn.functional.one_hot(torch.tensor([[[0, 0, 0, 1]]]), 2).movedim(3, 1).float()
    model, rule = model_of(SEGMENT), protocol.standard("scenes", SEGMENT, 8)
    task = quirks.scored(model, frozenset({"precision_as_accuracy"}), rule, "").task
    total = {key: value.sum(0) for key, value in task.score(logits, truth).items()}
    assert task.summarise(total)["macc"] == pytest.approx((1 / 3 + 1) / 2)
    assert task.summarise(total)["miou"] == SEGMENT.summarise(total)["miou"] == pytest.approx((1 / 3 + 1 / 3) / 2)


def test_every_quirk_is_tested_here() -> None:
    named = " ".join(name for name in globals() if name.startswith("test_"))
    assert [name for name in protocols.QUIRKS if name not in named] == []
