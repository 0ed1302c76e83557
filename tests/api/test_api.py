"""The Python words: anything can be attacked, and what makes no sense is refused."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import brittle
from brittle.core import components
from brittle.core.errors import CellError, UsageError
from brittle.evaluation import scoring
from brittle.types import Encoder, Features
from brittle.types.target import STANDARD

EPS = 8 / 255


def _images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


WEIGHTS = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))


def _logits(images: Tensor) -> Tensor:
    return images.mean((2, 3)) @ WEIGHTS


def _maps(images: Tensor) -> Tensor:
    return torch.einsum("bchw,ck->bkhw", images, WEIGHTS)


def _metres(images: Tensor) -> Tensor:
    return 1 + images.mean(1, keepdim=True)


class Small(Encoder):
    def __init__(self) -> None:
        super().__init__(5, 4, size=8, mean=(0.5,) * 3, std=(0.25,) * 3, about={})
        self.layer = nn.Conv2d(3, 5, 4, 4)

    def forward(self, images: Tensor) -> Features:
        grid = self.layer(self.normalise(images)).tanh()
        return Features(grid.mean((2, 3)), grid)


CASES = {
    "classification": (_logits, torch.tensor([0, 1, 2]), "pgd"),
    "segmentation": (_maps, torch.zeros(3, 8, 8, dtype=torch.long), "segpgd"),
    "depth": (_metres, torch.full((3, 1, 8, 8), 2.0), "depthpgd"),
}


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("task", CASES)
def test_any_callable_is_attacked_on_every_task(task: str, norm: str) -> None:
    model, target, own = CASES[task]
    images = _images()
    for attack in (own, "pgd(steps=5)", "noise"):
        found = brittle.attack(model, images, target, attack=attack, task=task, eps="8/255", norm=norm)  # type: ignore[arg-type]
        assert found.shape == images.shape
        assert not found.requires_grad
        assert not torch.equal(found, images)
        assert found.min() >= 0
        assert found.max() <= 1
        size = (found - images).flatten(1).norm({"linf": float("inf"), "l2": 2, "l1": 1}[norm], dim=1).amax()
        assert size <= EPS + 1e-6


def test_an_attack_does_harm_and_repeats_itself() -> None:
    target = torch.tensor([0, 1, 2])
    found = [brittle.attack(_logits, _images(), target, attack="pgd", seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    before, after = (nn.functional.cross_entropy(_logits(x), target) for x in (_images(), found[0]))
    assert after > before


def test_random_starts_belong_to_names() -> None:
    target, images = torch.tensor([0, 1, 2]), _images()
    together = brittle.attack(_logits, images, target, attack="noise", ids=["a", "b", "c"])
    alone = brittle.attack(_logits, images[1:2], target[1:2], attack="noise", ids=["b"])
    assert torch.equal(together[1:2], alone)


def test_a_module_stays_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 4)).train()
    weights = model[2].weight.clone()
    brittle.attack(model, _images(), torch.tensor([0, 1, 2]), attack="pgd(steps=2)")
    assert model.training
    assert model[1].training
    assert model[2].weight.requires_grad
    assert model[2].weight.grad is None
    assert torch.equal(model[2].weight, weights)


def test_an_encoder_is_attacked_without_a_head() -> None:
    encoder, images = Small(), _images()
    found = brittle.attack(encoder, images, attack="embed(steps=5)")
    assert (found - images).abs().max() <= EPS + 1e-6
    moved, random = (
        (encoder(x).pooled - encoder(images).pooled).norm()
        for x in (found, brittle.attack(encoder, images, attack="noise"))
    )
    assert moved > random


def test_eps_zero_changes_nothing() -> None:
    assert torch.equal(brittle.attack(_logits, _images(), torch.tensor([0, 1, 2]), eps=0), _images())


@pytest.mark.parametrize(
    "images",
    [
        _images() + 0.5,
        _images() - 0.5,
        _images() * 255,
        _images() * torch.nan,
        _images()[0],
        _images()[:, :1],
        _images().mul(255).byte(),
    ],
)
def test_images_of_another_kind_are_refused(images: Tensor) -> None:
    with pytest.raises(UsageError, match=r"\[0,1\]"):
        brittle.attack(_logits, images, torch.tensor([0, 1, 2]))


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "clasification"},
        {"attack": "pdg"},
        {"attack": "pgd(stepps=1)"},
        {"attack": "segpgd"},
        {"norm": "l3"},
        {"eps": "nan"},
        {"eps": -1},
        {"eps": float("inf")},
        {"eps": "1/0"},
        {"eps": 8},
        {"eps": "300/255"},
        {"eps": [EPS]},
        {"norm": None},
        {"task": "representation"},
    ],
)
def test_words_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError) as error:
        brittle.attack(_logits, _images(), torch.tensor([0, 1, 2]), **changes)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_an_encoder_alone_has_no_label_to_attack() -> None:
    with pytest.raises(UsageError, match="head"):
        brittle.attack(Small(), _images(), torch.tensor([0, 1, 2]), attack="pgd")


def test_an_embedding_attack_needs_an_encoder() -> None:
    with pytest.raises(UsageError):
        brittle.attack(_logits, _images(), attack="embed")


@pytest.mark.parametrize("wrong", [3, 4, -1, 65535])
def test_a_target_without_an_output_is_refused(wrong: int) -> None:
    """In a mask 255 is void; nowhere else."""
    model = nn.Conv2d(3, 3, 1)
    with pytest.raises(UsageError, match=f"target {wrong} "):
        brittle.attack(lambda x: model(x).mean((2, 3)), _images(), torch.tensor([0, 1, wrong]))
    mask = torch.zeros(3, 8, 8, dtype=torch.long)
    mask[0, 0], mask[2, 7, 7] = 255, wrong
    with pytest.raises(UsageError, match=f"target {wrong} "):
        brittle.attack(model, _images(), mask, attack="segpgd", task="segmentation")
    mask[2, 7, 7] = 2
    assert (
        brittle.attack(model, _images(), mask, attack="segpgd(steps=1)", task="segmentation").shape == _images().shape
    )
    with pytest.raises(UsageError, match="2 targets for 3"):
        brittle.attack(model, _images(), mask[:2], attack="segpgd", task="segmentation")


LABELS, MASKS, METRES = (target for _, target, _ in CASES.values())


@pytest.mark.parametrize(
    ("task", "target", "words"),
    [
        ("classification", LABELS.float(), "whole numbers"),
        ("classification", LABELS.to(torch.complex64), "whole numbers"),
        ("classification", LABELS[:, None], r"labels are \[3, 1\]; they must be \[B\]"),
        ("classification", nn.functional.one_hot(LABELS, 5), r"labels are \[3, 5\]; .*argmax"),
        ("classification", torch.tensor(1), r"labels are \[\]"),
        ("classification", [[0], [1, 2]], "labels are a list"),
        ("classification", "012", "labels are a str"),
        ("segmentation", MASKS[:, None], r"masks are \[3, 1, 8, 8\]; they must be \[B,H,W\]"),
        ("segmentation", MASKS.float(), "whole numbers"),
        ("depth", METRES[:, 0], r"depth maps are \[3, 8, 8\]; they must be \[B,1,H,W\]"),
        ("depth", METRES.expand(3, 2, 8, 8), r"\[B,1,H,W\]"),
        ("depth", METRES.short(), "torch.int16; .*metres"),
    ],
)
def test_a_target_of_another_kind_is_refused(task: str, target: object, words: str) -> None:
    for word in (brittle.attack, brittle.check):
        with pytest.raises(UsageError, match=words) as error:
            word(CASES[task][0], _images(), target, task=task)  # type: ignore[arg-type]
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8, torch.bool])
def test_classes_may_be_whole_numbers_of_any_kind(kind: torch.dtype) -> None:
    for task, target in (
        ("classification", torch.tensor([0, 1, 1])),
        ("segmentation", torch.arange(192).view(3, 8, 8) % 2),
    ):
        model, _, own = CASES[task]
        found = [brittle.attack(model, _images(), each, attack=own, task=task) for each in (target, target.to(kind))]
        assert torch.equal(*found)


def test_arrays_and_lists_are_as_good_as_tensors() -> None:
    wanted = brittle.attack(_logits, _images(), LABELS, attack="pgd(steps=3)")
    for target in (LABELS.numpy(), LABELS.tolist(), list(LABELS), LABELS.numpy().astype(np.uint16)):
        assert torch.equal(brittle.attack(_logits, _images().numpy(), target, attack="pgd(steps=3)"), wanted)
    assert brittle.check(_logits, _images().numpy(), LABELS.tolist()) == brittle.check(_logits, _images(), LABELS)
    metres = brittle.attack(_metres, _images(), METRES, attack="depthpgd", task="depth")
    assert torch.equal(
        brittle.attack(_metres, _images(), METRES.double().numpy(), attack="depthpgd", task="depth"), metres
    )


@pytest.mark.fault("F11")
@pytest.mark.parametrize("word", [brittle.attack, brittle.check])
def test_no_images_are_refused(word: Callable[..., object]) -> None:
    for empty in (_images()[:0], torch.zeros(3, 3, 0, 8)):
        with pytest.raises(UsageError, match="no images"):
            word(_logits, empty, LABELS[: len(empty)])
    with pytest.raises(UsageError, match="images are a list"):
        word(_logits, list(_images()), LABELS)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_images_in_half_precision_are_refused(kind: torch.dtype) -> None:
    """Half precision would leave the budget: 8.5/255 for 8/255 in bfloat16."""
    for model in (lambda images: _logits(images.float()), nn.Sequential(nn.Flatten(), nn.Linear(192, 4))):
        with pytest.raises(UsageError, match=f"images are {kind}.*float32"):
            brittle.attack(model, _images().to(kind), LABELS)


def test_images_in_double_precision_need_a_model_in_it() -> None:
    images, network = _images().double(), nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    for model, target, attack in ((network, LABELS, "pgd"), (network.forward, LABELS, "pgd"), (Small(), None, "embed")):
        with pytest.raises(UsageError, match="torch.float64.*give float32") as error:
            brittle.attack(model, images, target, attack=attack)
        assert "\n" not in str(error.value)
    assert (brittle.attack(network.double(), images, LABELS) - images).abs().max() <= EPS + 1e-12


@pytest.mark.parametrize(
    ("task", "model", "words"),
    [
        ("segmentation", _logits, r"\[3, 5\]; segmentation needs logits \[B,C,H,W\]"),
        ("depth", _maps, r"\[3, 5, 8, 8\]; depth needs metres \[B,1,H,W\]"),
        ("depth", lambda images: images.mean(1), r"\[3, 8, 8\]"),
        ("classification", _maps, r"classification needs logits \[B,C\]"),
        ("classification", lambda images: (_logits(images), images), "a tuple"),
        ("classification", lambda images: _logits(images)[:1], r"\[1, 5\]"),
        ("classification", "embedded:dino", "'embedded:dino'"),
    ],
)
def test_a_model_of_another_task_is_refused(task: str, model: Callable[[Tensor], Tensor], words: str) -> None:
    for word in (brittle.attack, brittle.check):
        with pytest.raises(UsageError, match=words) as error:
            word(model, _images(), CASES[task][1], task=task)
        assert "\n" not in str(error.value)


def test_every_kind_of_target_is_known() -> None:
    targets = {components.build("tasks", name).target for name in components.names("tasks")} - {None}
    assert targets == set(STANDARD.values())


def test_a_representation_needs_an_encoder_and_no_target() -> None:
    with pytest.raises(UsageError, match="'representation' needs an encoder"):
        brittle.attack(_logits, _images(), LABELS, task="representation")
    encoder, images = Small(), _images()
    clean, (found, random) = (
        encoder(images).pooled,
        (brittle.attack(encoder, images, attack=a, task="representation") for a in ("pgd", "noise")),
    )
    away, drawn = (1 - nn.functional.cosine_similarity(encoder(x).pooled, clean) for x in (found, random))
    assert (away > drawn).all()


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("pgd(objective=l1)", "objective 'l1' needs metres per pixel; classification predicts classes per image"),
        ("worst(attacks=[pgd, sea])", "attack 'sea' needs classes per pixel"),
        ("worst(attacks=[pgd, apgd(objective=segpgd)])", "objective 'segpgd' needs classes per pixel"),
        ("segpgd", "attack 'segpgd' needs classes per pixel"),
    ],
)
def test_what_does_not_fit_a_task_is_named(attack: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        brittle.attack(_logits, _images(), LABELS, attack=attack)


@pytest.mark.fault("F10")
def test_targets_that_are_all_void_are_one_failed_finding() -> None:
    for task, target in (("segmentation", torch.full_like(MASKS, 255)), ("depth", torch.zeros_like(METRES))):
        model, _, own = CASES[task]
        (finding,) = brittle.check(model, _images(), target, attack=own, task=task)
        assert finding.verdict == "fail"
        assert "no valid pixel" in finding.why


@pytest.mark.parametrize("attack", ["pgd(objective=targeted(label=1), steps=2)", "pgd(steps=2)"])
def test_checks_know_what_was_aimed_at(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Mapping[str, np.ndarray]] = []
    whole = scoring.Scoring.scores

    def scores(self: scoring.Scoring) -> scoring.Scores:
        seen.append(whole(self).samples)
        return whole(self)

    monkeypatch.setattr(scoring.Scoring, "scores", scores)
    assert brittle.check(_logits, _images(), LABELS, attack=attack)
    wanted = [1, 0, 1] if "targeted" in attack else None  # the second is of the class that was aimed for
    assert [list(samples["aimed"]) if "aimed" in samples else None for samples in seen] == [wanted]


def test_a_missing_target_is_said_not_made_up() -> None:
    with pytest.raises(UsageError, match="target"):
        brittle.attack(_logits, _images(), attack="pgd")


def test_a_split_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="train, val, test"):
        brittle.load_dataset("scenes", "dev")


def test_an_unknown_device_is_refused() -> None:
    from brittle.evaluation import machine

    with pytest.raises(UsageError, match="no device"):
        machine.machine("warp")


@pytest.mark.parametrize(
    ("how", "words"),
    [("precision", "no precision 'bf15'; did you mean 'bf16'"), ("compiles", "no choice of compiling 'bf15'")],
)
def test_an_unknown_way_to_run_is_refused(how: str, words: str, tmp_path: Path) -> None:
    """Before, such a precision was taken for float32 and became part of the result."""
    with pytest.raises(UsageError, match=words):
        brittle.run(["pixels"], ["scenes"], limit=2, output_dir=tmp_path, **{how: "bf15"})  # type: ignore[arg-type]


def test_words_are_found_without_torch_being_imported_first() -> None:
    assert set(brittle.__all__) <= {name for name in brittle.__all__ if callable(getattr(brittle, name))}
    with pytest.raises(AttributeError):
        brittle.nothing  # noqa: B018


def _writes(images: Tensor) -> Tensor:
    return _logits(images.sub_(0.4).div_(0.3))


@pytest.mark.parametrize("attack", ["pgd(steps=3)", "apgd(steps=6)", "square(queries=20)", "fab(steps=3)", "noise"])
def test_a_model_may_write_into_its_input(attack: str) -> None:
    """As one that normalises in place does; the caller's images are never changed."""
    images, labels = _images(), torch.tensor([0, 1, 2])
    before = images.clone()
    found = brittle.attack(_writes, images, labels, attack=attack)
    assert torch.equal(images, before)
    assert torch.equal(found, brittle.attack(lambda x: _logits((x - 0.4) / 0.3), images, labels, attack=attack))
    verdicts = {finding.name: finding.verdict for finding in brittle.check(_writes, images, labels, attack=attack)}
    assert verdicts["budget"] == "ok"
    assert torch.equal(images, before)


def test_an_encoder_may_write_into_its_input() -> None:
    class Writes(Small):
        def forward(self, images: Tensor) -> Features:
            return super().forward(images.mul_(0.5))

    images = _images()
    before = images.clone()
    found = brittle.attack(Writes(), images, attack="embed(steps=3)")
    assert (found - before).abs().max() <= EPS + 1e-6
    brittle.check(Writes(), images, attack="embed(steps=3)")
    assert torch.equal(images, before)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_l2_and_l1_have_no_budget_of_their_own(norm: str) -> None:
    images, labels = _images(), torch.tensor([0, 1, 2])
    for call in (brittle.attack, brittle.check):
        with pytest.raises(UsageError, match=f"{norm} has no budget of its own; give eps"):
            call(_logits, images, labels, norm=norm)
    with pytest.raises(UsageError, match=f"{norm} has no budget"):
        brittle.run(["pixels"], ["scenes"], norm=norm)  # type: ignore[arg-type]


def test_with_more_than_255_outputs_255_is_a_class() -> None:
    """And 65535 is void; a mask all of class 255 is attacked like any other."""
    model = nn.Conv2d(3, 300, 1)
    images = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.full((1, 4, 4), 255)
    attacked = brittle.attack(model, images, mask, attack="segpgd(steps=2)", task="segmentation")
    assert not torch.equal(attacked, images)
    kept = brittle.attack(model, images, torch.full_like(mask, 65535), attack="segpgd(steps=2)", task="segmentation")
    assert torch.equal(kept, images)
    with pytest.raises(UsageError, match="target 300 .*65535 is void"):
        brittle.attack(model, images, torch.full_like(mask, 300), attack="segpgd(steps=2)", task="segmentation")


HALF, DOUBLE = (nn.Linear(3, 5).to(kind) for kind in (torch.float16, torch.float64))


@pytest.mark.parametrize(
    "attack", ["pgd(steps=2)", "apgd(steps=5)", "fab(steps=3)", "square(queries=5)", "universal(steps=2)", "autoattack"]
)
@pytest.mark.parametrize("inner", [HALF, DOUBLE])
def test_predictions_may_be_of_another_floating_type(inner: nn.Module, attack: str) -> None:
    kind = next(inner.parameters()).dtype
    text = "autoattack(steps=2, queries=3)" if attack == "autoattack" else attack
    found = brittle.attack(lambda x: inner(x.mean((2, 3)).to(kind)), _images(), torch.tensor([0, 1, 2]), attack=text)
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("model", "images", "words"),
    [
        (
            nn.Sequential(nn.Flatten(), nn.Linear(192, 4).half()),
            _images(),
            "it has weights of torch.float16, so wrap it",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(192, 4).double()),
            _images(),
            "it has weights of torch.float64, so wrap",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(192, 4)),
            torch.rand(3, 3, 8, 12),
            r"images \[3, 3, 8, 12\]: RuntimeError",
        ),
        (lambda images: images.no_such_word, _images(), "AttributeError"),
    ],
)
def test_a_model_that_stops_is_one_line(model: Callable[[Tensor], Tensor], images: Tensor, words: str) -> None:
    with pytest.raises(CellError, match=words) as stopped:
        brittle.attack(model, images, torch.tensor([0, 1, 2]))
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize("attack", ["pgd", "apgd(steps=3)", "fab(steps=3)", "universal(steps=3)", "autoattack"])
def test_a_model_without_gradients_is_one_line(attack: str) -> None:
    with pytest.raises(CellError, match="none reaches the pixels"):
        brittle.attack(torch.no_grad()(_logits), _images(), torch.tensor([0, 1, 2]), attack=attack)


@pytest.mark.parametrize("attack", ["pgd", "apgd(steps=3)", "universal(steps=3)"])
@pytest.mark.parametrize(
    ("shape", "words"), [(lambda value: value.sum(), r"gives \[\]"), (lambda value: value[:, None], r"gives \[3, 1\]")]
)
def test_an_objective_is_one_number_an_image(attack: str, shape: Callable[[Tensor], Tensor], words: str) -> None:
    def objective(model: Callable[[Tensor], Tensor], _batch: object) -> Callable[[Tensor, float], Tensor]:
        return lambda images, _progress: shape(model(images)[:, 0])

    with pytest.raises(UsageError, match=words):
        brittle.attack(_logits, _images(), torch.tensor([0, 1, 2]), attack=attack, objective=objective)  # type: ignore[arg-type]


def test_a_representation_is_followed_step_by_step(tmp_path: Path, quick: None) -> None:
    data, attack = "scenes(train=16, val=8, test=8, size=8)", "pgd(steps=2)"
    results = brittle.run(
        ["pixels(size=8)"], [data], ["representation"], [attack, f"curve(attack={attack})"], output_dir=tmp_path
    )
    plain, followed = (result for result in results if result.cell.attack)
    assert [point["step"] for point in followed.curve] == [0, 1, 2, 3]
    last = {key: followed.curve[-1][key] for key in plain.metrics}
    assert last == pytest.approx(dict(plain.metrics))
    assert followed.curve[0]["distance"] > 0
