"""Every way in to whole networks: the prediction it promises, gradients that reach the pixels, the same answer twice,
weights that have a name."""

import pytest
import torch
from tiny import MODELS, generator, need

from brittle.core import components
from brittle.core.spec import Spec, parse
from brittle.planning import identity
from brittle.types import Network, frozen
from brittle.types.network import WANTED


@pytest.fixture(scope="module", params=components.names("models"))
def built(request, tmp_path_factory):
    case = need(MODELS, "models", request.param)
    specs = case.specs(tmp_path_factory.mktemp("weights"))
    return case, specs, components.build("models", specs[0]).eval()


def pixels(count: int, size: int) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=generator())


def test_it_predicts_for_one_task(built) -> None:
    case, specs, network = built
    assert isinstance(network, Network)
    assert network.predicts in WANTED
    with torch.no_grad():
        found = network(pixels(2, case.size))
    assert len(found) == 2
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert found.dim() == (2 if "per_image" in network.predicts else 4)
    if network.classes:
        assert found.shape[1] == len(network.classes)
    assert identity.predicts(f"model:{specs[0]}") == network.predicts


@torch.no_grad()
def test_a_temperature_divides_its_logits(built) -> None:
    case, specs, network = built
    spec = parse(specs[0])
    if "temperature" not in components.settings_of(components.component("models", spec.name).function):
        assert spec.name in ("embedded", "file")  # which are ours, as they were made
        return
    warm = str(Spec(spec.name, spec.argument, {**spec.settings, "temperature": 2.0}))
    images, found = pixels(2, case.size), components.build("models", warm).eval()
    assert torch.equal(found(images), network(images) / 2)
    assert found.about["fingerprint"] == identity.weights_of(f"model:{warm}") != network.about["fingerprint"]


def test_a_gradient_reaches_every_part_of_the_image(built) -> None:
    case, _, network = built
    images = pixels(1, case.size).requires_grad_()
    (gradient,) = torch.autograd.grad(network(images).square().sum(), images)
    assert gradient.isfinite().all()
    for part in gradient.unflatten(2, (2, -1)).unflatten(4, (2, -1)).movedim((2, 4), (0, 1)).flatten(0, 1):
        assert part.abs().max() > 0
    network.require_gradient(images.detach())


@torch.no_grad()
def test_the_same_image_gives_the_same_prediction_bitwise(built) -> None:
    case, _, network = built
    images = pixels(2, case.size)
    before = images.clone()
    assert torch.equal(network(images), network(images))
    assert torch.equal(images, before)


@torch.no_grad()
def test_images_do_not_see_each_other(built) -> None:
    case, _, network = built
    images = pixels(3, case.size)
    alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(network(images), alone, atol=1e-4, rtol=1e-4)


def test_it_can_be_frozen_and_is_as_before_after(built) -> None:
    case, _, network = built
    flags = [(weight, weight.requires_grad) for weight in network.parameters()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    with frozen(network):
        network(pixels(2, case.size).requires_grad_()).sum().backward()
        assert not any(weight.requires_grad for weight in network.parameters())
        assert all(weight.grad is None for weight in network.parameters())
    assert all(weight.requires_grad == flag for weight, flag in flags)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in state.items())


def test_the_fingerprint_names_the_weights(built) -> None:
    _, specs, network = built
    names = [identity.weights_of(f"model:{each}") for each in specs]
    assert len(set(names)) == len(specs)
    assert network.about["fingerprint"] == names[0] == identity.weights_of(f"model:{specs[0]}")


def test_a_result_can_say_where_the_weights_come_from(built) -> None:
    _, specs, network = built
    assert network.about.keys() >= {"sha256", "licence", "parameters", "source"}
    assert network.label.startswith("model:")
    assert components.canonical("encoders", f"model:{specs[0]}") == f"model:{components.canonical('models', specs[0])}"


def test_its_encoder_is_there_where_it_says_so(built) -> None:
    case, specs, network = built
    assert (network.encoder is not None) == identity.has_features(f"model:{specs[0]}")
    if network.encoder is not None:
        with torch.no_grad():
            found = network.encoder(pixels(2, case.size))
        assert found.pooled.shape[1] == found.grid.shape[1] == network.encoder.dim
