"""Every encoder: the shapes it promises, gradients that reach the pixels, the same answer twice, weights that have a
name."""

import pytest
import torch
from tiny import ENCODERS, generator, need

from brittle.api import attack
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.planning import identity
from brittle.types import Encoder, Features, frozen


def names() -> list[str]:
    """Those that are encoders themselves, and do not stand for another kind."""
    every = components.names("encoders")
    return [name for name in every if not components.component("encoders", name).traits.names]


@pytest.fixture(scope="module", params=names())
def built(request, tmp_path_factory):
    case = need(ENCODERS, "encoders", request.param)
    specs = case.specs(tmp_path_factory.mktemp("weights"))
    return case, specs, components.build("encoders", specs[0]).eval()


def pixels(count: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=generator())


def holds(encoder: Encoder, found: Features, count: int, height: int, width: int) -> None:
    rows, columns = -(-height // encoder.patch), -(-width // encoder.patch)
    assert found.pooled.shape == (count, encoder.dim)
    assert found.grid.shape == (count, encoder.dim, rows, columns)
    assert found.pooled.isfinite().all()
    assert found.grid.isfinite().all()


def test_shapes_are_those_of_dim_and_patch(built) -> None:
    case, _, encoder = built
    with torch.no_grad():
        holds(encoder, encoder(pixels(2, case.size, case.size)), 2, case.size, case.size)


@pytest.mark.fault("F13", "F14")
@pytest.mark.parametrize(("height", "width"), [(37, 50), (1, 1), (5, 200), (225, 230)])
def test_odd_sizes(built, height, width) -> None:
    case, _, encoder = built
    if case.odd:
        pytest.skip(case.odd)
    images = pixels(1, height, width)
    with torch.no_grad():
        found = encoder(images)
        holds(encoder, found, 1, height, width)
        moved = encoder(torch.cat([images[..., :-1], 1 - images[..., -1:]], 3))
    assert not torch.equal(moved.pooled, found.pooled), "the last column must matter: padding, never cropping"


@pytest.mark.fault("F14")
def test_an_attack_never_touches_the_padding(monkeypatch) -> None:
    encoder, images, seen = components.build("encoders", "embedded:random"), pixels(2, 225, 230), []
    real = encoder.features

    def features(padded: torch.Tensor) -> Features:
        seen.append(padded.detach().clone())
        return real(padded)

    monkeypatch.setattr(encoder, "features", features)
    moved = attack(encoder, images, attack="embed(steps=2)", eps=8 / 255, task="representation")
    assert moved.shape == images.shape
    assert 0 < (moved - images).abs().max() <= 8 / 255 + 1e-6
    assert len(seen) > 2
    for padded in seen:
        assert padded.shape[-2:] == (232, 232)
        assert padded[..., 225:, :].count_nonzero() == padded[..., 230:].count_nonzero() == 0  # the mean colour
        assert padded[..., :225, :230].count_nonzero()


@pytest.mark.parametrize("feature", ["pooled", "grid"])
def test_gradient_reaches_every_part_of_the_image(built, feature) -> None:
    case, _, encoder = built
    images = pixels(2, case.size, case.size).requires_grad_()
    value = getattr(encoder(images), feature)
    (value * torch.randn(value.shape, generator=generator(1))).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    cells = torch.nn.functional.max_pool2d(images.grad.abs().amax(1), encoder.patch)
    assert (cells > 0).all(), "a patch has no gradient: the encoder cannot be attacked there"


def test_the_same_image_gives_the_same_features_bitwise(built) -> None:
    case, specs, encoder = built
    images = pixels(2, case.size, case.size)
    with torch.no_grad():
        first, second, again = encoder(images), encoder(images), components.build("encoders", specs[0]).eval()(images)
    for other in (second, again):
        assert torch.equal(first.pooled, other.pooled)
        assert torch.equal(first.grid, other.grid)


def refused(error: UsageError) -> None:
    assert str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("index", [0, -1, 99])
def test_a_layer_is_there_or_refused_in_a_line(built, index) -> None:
    case, _, encoder = built
    images = pixels(2, case.size, case.size).requires_grad_()
    try:
        found = encoder.at_layer(images, index)
    except UsageError as error:
        refused(error)
        return
    assert index < 99
    for part in found:
        (gradient,) = torch.autograd.grad(
            (part * torch.randn(part.shape, generator=generator(1))).sum(), images, retain_graph=True
        )
        assert gradient.isfinite().all()
        assert (gradient.flatten(1).abs().amax(1) > 0).all()
    with torch.no_grad():
        assert torch.equal(encoder.at_layer(images[:1], index).grid, encoder.at_layer(images[:1], index).grid)


@pytest.mark.parametrize("index", [0, -1, 99])
def test_attention_is_there_or_refused_in_a_line(built, index) -> None:
    case, _, encoder = built
    images = pixels(2, case.size, case.size).requires_grad_()
    try:
        found = encoder.attention_at(images, index)
    except UsageError as error:
        refused(error)
        return
    assert index < 99
    assert found.shape == (2, found.shape[1], found.shape[2], found.shape[2])
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:3]))
    (gradient,) = torch.autograd.grad((found * torch.randn(found.shape, generator=generator(1))).sum(), images)
    assert (gradient.flatten(1).abs().amax(1) > 0).all()


def test_images_do_not_see_each_other(built) -> None:
    case, _, encoder = built
    images = pixels(3, case.size, case.size)
    with torch.no_grad():
        together, alone = encoder(images), encoder(images[1:2])
    torch.testing.assert_close(together.pooled[1:2], alone.pooled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.grid[1:2], alone.grid, rtol=1e-4, atol=1e-5)


def test_parameters_can_be_frozen_and_are_as_before_after(built) -> None:
    _, _, encoder = built
    flags = [p.requires_grad for p in encoder.parameters()]
    with frozen(encoder):
        assert not any(p.requires_grad for p in encoder.parameters())
    assert [p.requires_grad for p in encoder.parameters()] == flags


def test_it_normalises_inside(built) -> None:
    case, _, encoder = built
    images = pixels(1, case.size, case.size)
    seen = (images - encoder.mean) / encoder.std
    torch.testing.assert_close(encoder.normalise(images), seen)
    assert (encoder.std > 0).all()


def test_it_normalises_once(built, monkeypatch) -> None:
    case, _, encoder = built
    seen, real = [], encoder.normalise
    monkeypatch.setattr(encoder, "normalise", lambda images: (seen.append(images), real(images))[1])
    images = pixels(1, case.size, case.size)
    with torch.no_grad():
        encoder(images)
    assert len(seen) == 1
    assert torch.equal(seen[0], images), "the images as they come, in [0, 1]"


def test_the_fingerprint_names_the_weights(built) -> None:
    _, (one, other), _ = built
    first = identity.weights_of(one)
    assert first
    assert first == identity.weights_of(one)
    assert first != identity.weights_of(other)


def test_a_result_can_say_where_the_weights_come_from(built) -> None:
    _, _, encoder = built
    assert {"sha256", "licence", "parameters", "source"} <= encoder.about.keys()
    assert encoder.about["parameters"] == sum(p.numel() for p in encoder.parameters())


@pytest.mark.parametrize("text", ["embedded:random", "timm:test_vit(pretrained=false)"])
def test_a_vits_features_are_its_final_norm_tokens(text) -> None:
    encoder = components.build("encoders", text).eval()
    images = pixels(2, encoder.size, encoder.size)
    with torch.no_grad():
        tokens = encoder.network.forward_features(encoder.normalise(images))
        found = encoder(images)
    first = tokens.shape[1] - found.grid[0, 0].numel()
    assert first >= 1
    torch.testing.assert_close(found.pooled, tokens[:, 0])
    torch.testing.assert_close(found.grid.flatten(2).transpose(1, 2), tokens[:, first:])
    side = encoder.patch
    row, column = 1, 2  # rows and columns are not exchanged: the change of one patch is largest there in the grid
    changed = images.clone()
    changed[..., row * side : (row + 1) * side, column * side : (column + 1) * side] = (
        1 - images[..., row * side : (row + 1) * side, column * side : (column + 1) * side]
    )
    with torch.no_grad():
        moved = (encoder(changed).grid - found.grid).norm(dim=1)[0]
    assert divmod(int(moved.argmax()), moved.shape[1]) == (row, column)
