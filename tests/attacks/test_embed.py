"""The embedding attack on layers and on attention: the distance it climbs rises, in windows too, and what cannot be is
one line."""

import pytest
import torch

import brittle
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.types import Batch, Features, Look, Model, frozen
from brittle.types.rng import Rng
from brittle.types.threat import Threat

VIT = "embedded:random"
VARIANTS = [
    "layer=2",
    "layer=-1, tokens=all",
    "layer=0, tokens=grid, distance=cosine",
    "tokens=attention",
    "tokens=attention, layer=1",
]


def setting(size: int = 64, **options: int) -> tuple[Model, Batch]:
    model = Model(components.build("tasks", "classification"), None, brittle.load_encoder(VIT), **options)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    return model, Batch(images, torch.zeros(2, dtype=torch.long), ("a", "b"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_distance_rises_beyond_that_of_noise(variant) -> None:
    model, batch = setting()
    threat = Threat("linf", 8 / 255)
    with frozen(model):
        objective = components.build("objectives", f"embedding({variant})", model, batch)
        found = components.build(
            "attacks", f"embed({variant}, steps=5)", model, batch, threat, Rng(0, batch.ids)
        ).detach()
        noise = components.build("attacks", "noise", model, batch, threat, Rng(0, batch.ids))
        with torch.no_grad():
            start, plain, end = (objective(images, 0.0) for images in (batch.images, noise, found))
    assert threat.violation(batch.images, found).max() <= 1e-6
    assert start.abs().max() < 1e-6
    assert (end > 1.5 * plain).all()


def test_layers_are_unlike_each_other_and_unlike_the_end() -> None:
    model, batch = setting()
    with frozen(model):
        found = [
            components.build(
                "attacks", f"embed({text}, steps=2)", model, batch, Threat("linf", 8 / 255), Rng(0, batch.ids)
            )
            for text in ("layer=final", "layer=0", "layer=3", "tokens=attention", "tokens=attention, layer=0")
        ]
    assert all(not torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])
    with frozen(model):
        default = components.build(
            "attacks", "embed(steps=2)", model, batch, Threat("linf", 8 / 255), Rng(0, batch.ids)
        )
    assert torch.equal(default, found[0])


def test_attention_of_the_end_is_that_of_the_last_layer() -> None:
    model, batch = setting()
    moved = batch.images * 0.9
    with frozen(model), torch.no_grad():
        last, end = (
            components.build("objectives", f"embedding(tokens=attention, layer={i})", model, batch)(moved, 0.0)
            for i in (-1, "final")
        )
    assert torch.equal(last, end)


@pytest.mark.parametrize("variant", ["layer=1, tokens=all", "tokens=attention"])
def test_every_window_counts(variant) -> None:
    model, batch = setting(96, window=64, stride=32)
    assert model.windowed(batch.images)
    with frozen(model):
        images = (batch.images * 0.95).requires_grad_()
        value = components.build("objectives", f"embedding({variant})", model, batch)(images, 0.0)
        (gradient,) = torch.autograd.grad(value.sum(), images)
    corners = [
        gradient[:, :, rows, columns] for rows in (slice(8), slice(-8, None)) for columns in (slice(8), slice(-8, None))
    ]
    assert all(corner.abs().sum() > 0 for corner in corners)


@pytest.mark.parametrize(
    ("encoder", "variant", "why"),
    [
        ("embedded:random", "layer=6", "has layers -6 to 5, got layer=6"),
        ("embedded:random", "layer=-7, tokens=attention", "has layers -6 to 5, got layer=-7"),
        ("pixels(size=64)", "layer=0", "pixels has no layers to speak of"),
        ("pixels(size=64)", "tokens=attention", "pixels has no attention to speak of"),
        ("timm:test_resnet(pretrained=false)", "tokens=attention", "has no attention to speak of"),
    ],
)
def test_what_cannot_be_is_one_line(encoder, variant, why) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with pytest.raises(UsageError, match=why) as refused:
        brittle.attack(brittle.load_encoder(encoder), images, attack=f"embed({variant})")
    assert "\n" not in str(refused.value)


def test_the_setting_is_plain_data() -> None:
    assert components.canonical("attacks", "embed(layer=final)") == "embed"
    assert components.canonical("attacks", "embed(layer=-2)") == "embed(layer=-2)"
    nested = str(components.complete("attacks", "worst(attacks=[embed, embed(layer=3)])"))
    assert str(components.complete("attacks", nested)) == nested
    for wrong in ("embed(layer=last)", "embed(layer=1.5)", "embed(tokens=heads)"):
        with pytest.raises(UsageError):
            components.complete("attacks", wrong)


@pytest.mark.parametrize(
    ("task", "parts", "look"),
    [
        ("classification", ["pooled"], Look()),
        ("segmentation", ["grid"], Look()),
        ("depth", ["pooled", "grid"], Look()),
        ("depth", ["grid"], Look((-1,), norm=False)),
    ],
)
@pytest.mark.parametrize("windowed", [False, True])
def test_by_default_it_moves_what_the_head_reads(task, parts, look, windowed) -> None:
    encoder = brittle.load_encoder(VIT)
    size, options = (96, {"window": 64, "stride": 32}) if windowed else (64, {})
    model = Model(components.build("tasks", task), None, encoder, look=look, reads=parts, **options)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    batch, moved = Batch(images, torch.zeros(2), ("a", "b")), images * 0.9
    places = [(y, x) for y in (0, 32) for x in (0, 32)] if windowed else [(0, 0)]
    wanted = torch.zeros(2)
    with frozen(model), torch.no_grad():
        for part in parts:
            gaps = []
            for y, x in places:
                one, two = (encoder.look(i[..., y : y + 64, x : x + 64], look) for i in (images, moved))
                gaps.append((getattr(one, part) - getattr(two, part)).square().flatten(1).mean(1))
            wanted += torch.stack(gaps).mean(0) / len(parts)
        found = components.build("objectives", "embedding", model, batch)(moved, 0.0)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("task", "reads"), [("classification", 1), ("segmentation", 1), ("depth", 2)])
def test_what_a_head_reads_is_what_its_prediction_follows(task, reads) -> None:
    kind = components.build("tasks", task)
    head = kind.head(8, 5).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    features = Features(torch.randn(2, 8, requires_grad=True), torch.randn(2, 8, 3, 3, requires_grad=True))
    head(features, (12, 12)).square().sum().backward()
    assert {name for name, part in features._asdict().items() if part.grad is not None} == set(kind.reads)
    assert len(kind.reads) == reads
