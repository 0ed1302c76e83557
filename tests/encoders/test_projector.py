"""The projector beside a published encoder: found where its authors leave it, equal to the network it was, and never
guessed."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from made import prefixed, randomised, saved, vit
from torch import Tensor, nn

import brittle
from brittle.core import components, spec
from brittle.core.errors import UsageError
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import measure
from brittle.planning import identity
from brittle.tasks.representation import representation

torchvision = pytest.importorskip("torchvision")

TINY = {"width": 192, "patch": 16, "side": 14}
DOCS = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text(encoding="utf8")
SCENES = "scenes(train=8, val=8, test=8)"


def filled(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and statistics that are no default, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(
                noise / value.shape[1] ** 0.5
                if value.dim() > 1
                else 0.5 + noise.abs()
                if key.endswith("var")
                else noise
            )
    return network.eval()


def norm(width: int, affine: bool = True) -> nn.Module:
    return nn.BatchNorm1d(width, affine=affine)


def mocov3(width: int, seed: int = 0) -> nn.Module:
    first = (nn.Linear(width, 24, bias=False), norm(24), nn.ReLU(), nn.Linear(24, 24, bias=False), norm(24), nn.ReLU())
    return filled(nn.Sequential(*first, nn.Linear(24, 16, bias=False), norm(16, affine=False)), seed)


def simsiam(width: int) -> nn.Module:
    first = (nn.Linear(width, 32, bias=False), norm(32), nn.ReLU(), nn.Linear(32, 32, bias=False), norm(32), nn.ReLU())
    return filled(nn.Sequential(*first, nn.Linear(32, 20), norm(20, affine=False)))


def simclr2(width: int) -> nn.Module:
    first = (nn.Linear(width, 32, bias=False), norm(32), nn.ReLU(), nn.Linear(32, 32, bias=False), norm(32), nn.ReLU())
    return filled(nn.Sequential(*first, nn.Linear(32, 12, bias=False), norm(12)))


def two(width: int, *, middle: bool = False, seed: int = 0) -> nn.Module:
    """SimCLR's: two layers, with or without a norm between them."""
    return filled(
        nn.Sequential(nn.Linear(width, 24), *([norm(24)] if middle else []), nn.ReLU(), nn.Linear(24, 16)), seed
    )


def dino(width: int, *, norms: bool = False, seed: int = 0) -> nn.Module:
    """The MLP of DINO's head, up to the bottleneck."""
    parts: list[nn.Module] = []
    for wide in (width, 24):
        parts += [nn.Linear(wide, 24), *([norm(24)] if norms else []), nn.GELU()]
    return filled(nn.Sequential(*parts, nn.Linear(24, 16)), seed)


def head(prefix: str, mlp: nn.Module) -> dict[str, Tensor]:
    """DINO's head: the MLP, then the prototypes with weight norm."""
    return {
        **prefixed(f"{prefix}mlp.", mlp.state_dict()),
        f"{prefix}last_layer.weight_g": torch.ones(7, 1),
        f"{prefix}last_layer.weight_v": torch.randn(7, 16),
    }


def resnet(padding: int | None = None) -> dict[str, Tensor]:
    made = torchvision.models.resnet18(weights=None)
    if padding is not None:
        made.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=padding, bias=False)
    return {key: value for key, value in randomised(made).state_dict().items() if not key.startswith("fc.")}


def in_sequence(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A ResNet as the ``Sequential`` that a SimCLR for CIFAR calls ``f``, without the pooling it takes out."""
    places = {"conv1": "f.0", "bn1": "f.1", "layer1": "f.3", "layer2": "f.4", "layer3": "f.5", "layer4": "f.6"}
    return {f"{places[key.partition('.')[0]]}.{key.partition('.')[2]}": value for key, value in state.items()}


def moco_checkpoint(base: nn.Module, momentum: nn.Module) -> dict[str, Any]:
    pair = {"base": (vit(384, 16, 14, depth=12), base), "momentum": (vit(384, 16, 14, depth=12, seed=1), momentum)}
    state: dict[str, Tensor] = prefixed("module.predictor.", two(16).state_dict())
    for name, (encoder, projector) in pair.items():
        state |= prefixed(f"module.{name}_encoder.", {**encoder, **prefixed("head.", projector.state_dict())})
    return {"epoch": 300, "arch": "vit_small", "state_dict": state}


def dino_checkpoint(student: nn.Module, teacher: nn.Module) -> dict[str, Any]:
    return {
        "student": {**prefixed("module.backbone.", vit(**TINY, seed=1)), **head("module.head.", student)},
        "teacher": {**prefixed("backbone.", vit(**TINY)), **head("head.", teacher)},
        "dino_loss": {"center": torch.zeros(1, 7)},
    }


def of_resnet(
    prefix: str, projector: str, network: nn.Module, padding: int | None = None, **more: Tensor
) -> dict[str, Any]:
    return {"state_dict": {**prefixed(prefix, resnet(padding)), **prefixed(projector, network.state_dict()), **more}}


PREDICTOR = {"module.predictor.0.weight": torch.zeros(2, 2)}
CASES: dict[str, tuple[Any, nn.Module, str]] = {  # (checkpoint of the projector, the projector, settings of the spec)
    "mocov3 vit": (lambda made: moco_checkpoint(made, mocov3(384, 1)), mocov3(384), ""),
    "mocov3 vit, momentum": (
        lambda made: moco_checkpoint(mocov3(384, 1), made),
        mocov3(384),
        "(part=momentum_encoder)",
    ),
    "mocov3 resnet": (
        lambda made: of_resnet("module.base_encoder.", "module.base_encoder.fc.", made),
        filled(
            nn.Sequential(
                nn.Linear(512, 24, bias=False),
                norm(24),
                nn.ReLU(),
                nn.Linear(24, 16, bias=False),
                norm(16, affine=False),
            )
        ),
        "",
    ),
    "simsiam": (lambda made: of_resnet("module.encoder.", "module.encoder.fc.", made, **PREDICTOR), simsiam(512), ""),
    "moco v2": (lambda made: of_resnet("module.encoder_q.", "module.encoder_q.fc.", made), two(512), ""),
    "dino teacher": (lambda made: dino_checkpoint(dino(192, seed=1), made), dino(192), ""),
    "dino student": (lambda made: dino_checkpoint(made, dino(192, seed=1)), dino(192), "(part=student)"),
    "dino with norms": (lambda made: dino_checkpoint(dino(192), made), dino(192, norms=True), ""),
    "dinov2": (
        lambda made: {
            "teacher": {
                **prefixed("backbone.", vit(**TINY)),
                **head("dino_head.", made),
                **head("ibot_head.", dino(192, seed=1)),
            }
        },
        dino(192),
        "",
    ),
    "simclr, fc of a backbone": (lambda made: of_resnet("backbone.", "backbone.fc.", made), two(512), ""),
    "simclr, f and g": (
        lambda made: {**in_sequence(resnet(1)), **prefixed("g.", made.state_dict())},
        two(512, middle=True),
        "",
    ),
    "simclr 2": (
        lambda made: {
            "resnet": {**resnet(), "fc.weight": torch.zeros(9, 512)},
            "head": prefixed("layers.", made.state_dict()),
        },
        simclr2(512),
        "",
    ),
    "solo-learn": (lambda made: of_resnet("backbone.", "projector.", made, 2), two(512), ""),
    "solo-learn, old": (lambda made: of_resnet("encoder.", "projector.", made, 2), simsiam(512), ""),
}


@pytest.mark.parametrize("case", CASES)
def test_a_projector_equals_the_network_it_was(case, tmp_path) -> None:
    wrap, wanted, settings = CASES[case]
    text = f"{saved(tmp_path, 'checkpoint.pth', wrap(wanted))}{settings}"
    encoder = brittle.load_encoder(text)
    features = torch.randn(5, encoder.dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert encoder.projector is not None
        torch.testing.assert_close(encoder.projector(features), wanted(features), rtol=0, atol=0)
    assert not encoder.projector.training
    assert wanted(features).std(0).mean() > 0.1, "a projector that says the same of everything would show nothing"
    assert "ReLU" in encoder.about["projector"] or "GELU" in encoder.about["projector"]


def test_the_last_norm_of_simclr_2_may_have_no_bias(tmp_path) -> None:
    wanted = simclr2(512)
    state = prefixed("layers.", {key: value for key, value in wanted.state_dict().items() if key != "7.bias"})
    wanted.get_parameter("7.bias").data.zero_()
    encoder = brittle.load_encoder(saved(tmp_path, "r18.pth", {"resnet": resnet(), "head": state}))
    features = torch.randn(3, 512)
    assert encoder.projector is not None
    torch.testing.assert_close(encoder.projector(features), wanted(features))


def test_features_and_what_is_said_of_the_encoder_stay_its_own(tmp_path) -> None:
    full = brittle.load_encoder(saved(tmp_path, "full.pth", dino_checkpoint(dino(192), dino(192))))
    plain = brittle.load_encoder(saved(tmp_path, "plain.pth", vit(**TINY)))
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(full(images).pooled, plain(images).pooled)
    assert plain.projector is None
    assert full.about["parameters"] == plain.about["parameters"]
    assert "projector" not in plain.about


# --- what is not understood is not used -------------------------------------------------------------------------------


def odd(network: nn.Module) -> dict[str, Any]:
    return of_resnet("module.encoder.", "module.encoder.fc.", network)


REFUSED: dict[str, tuple[Any, str]] = {  # (checkpoint, what the refusal says was found)
    "nothing": (lambda: vit(**TINY), "holds none"),
    "a classifier": (lambda: {**resnet(), "fc.weight": torch.zeros(9, 512)}, "fc.weight 9x512"),
    "one layer": (lambda: odd(nn.Linear(512, 9)), "module.encoder.fc.weight 9x512"),
    "another width": (lambda: odd(simsiam(256)), "module.encoder.fc.0.weight 32x256"),
    "widths that do not meet": (
        lambda: odd(
            nn.Sequential(
                nn.Linear(512, 8), norm(8), nn.ReLU(), nn.Linear(9, 8), norm(8), nn.ReLU(), nn.Linear(8, 8), norm(8)
            )
        ),
        "module.encoder.fc.3.weight 8x9",
    ),
    "a dropout before the last layer": (
        lambda: odd(nn.Sequential(*list(simsiam(512))[:6], nn.Dropout(), *list(simsiam(512))[6:])),
        "module.encoder.fc.7.weight 20x32",
    ),
    "a huge number": (
        lambda: of_resnet(
            "module.encoder.",
            "module.encoder.fc.",
            two(512),
            **{"module.encoder.fc.99999999999.weight": torch.zeros(2, 2)},
        ),
        "module.encoder.fc.99999999999.weight 2x2",
    ),
    "a layer of another kind": (
        lambda: odd(nn.Sequential(*list(simsiam(512))[:7], nn.LayerNorm(20))),
        "module.encoder.fc.7.weight 20",
    ),
    "SimSiam's layers where SimCLR's are": (
        lambda: of_resnet("backbone.", "backbone.fc.", simsiam(512)),
        "backbone.fc.0.weight 32x512",
    ),
    "ReLU in one method and GELU in another": (  # VICReg and VIbCReg of solo-learn
        lambda: of_resnet(
            "backbone.",
            "projector.",
            nn.Sequential(nn.Linear(512, 8), norm(8), nn.ReLU(), nn.Linear(8, 8), norm(8), nn.ReLU(), nn.Linear(8, 8)),
        ),
        "projector.0.weight 8x512",
    ),
    "a head of a name nobody knows": (
        lambda: {"state_dict": {**prefixed("backbone.", vit(**TINY)), **head("projector.", dino(192))}},
        "projector.mlp.0.weight 24x192",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_understood_is_refused_and_named(case, tmp_path) -> None:
    make, found = REFUSED[case]
    text = saved(tmp_path, "odd.pth", make())
    encoder = brittle.load_encoder(text)
    assert encoder.projector is None
    with pytest.raises(UsageError) as caught:
        representation(projector=True).head_on(encoder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    assert message.startswith(f"{text} has no projector")
    assert found in message


def test_two_that_fit_are_none(tmp_path) -> None:
    checkpoint = of_resnet("backbone.", "backbone.fc.", two(512))
    checkpoint["state_dict"] |= prefixed("projector.", two(512).state_dict())
    encoder = brittle.load_encoder(saved(tmp_path, "both.pth", checkpoint))
    assert encoder.projector is None
    assert "several" in encoder.about["projector"]


def test_an_encoder_without_one_is_named() -> None:
    with pytest.raises(UsageError, match=r"embedded:random has no projector .*; leave projector=true out, or .*file:"):
        representation(projector=True).head_on(brittle.load_encoder("embedded:random"))


# --- the task with it -------------------------------------------------------------------------------------------------


@pytest.fixture
def number(tmp_path, cell_of, quick):
    text = saved(tmp_path, "full.pth", dino_checkpoint(dino(192, seed=1), dino(192)))

    def make(attack: str | None, task: str = "representation(projector=true)"):
        cell = cell_of(
            attack, task, encoder=f"{text}(size=32)", dataset=components.canonical("datasets", SCENES), limit=6
        )
        return measure(cell, Machine())[0]

    return make


def test_alignment_and_uniformity_of_the_projected_feature(number) -> None:
    projected, plain = number(None), number(None, "representation")
    assert set(projected.metrics) == {"alignment", "uniformity"}
    assert projected.id != plain.id
    for name, value in projected.metrics.items():
        assert abs(value - plain.metrics[name]) > 1e-4
    assert projected.made_by["settings"]["tasks"] == "representation(projector=true)"
    assert projected.made_by["weights"]["projector"] == "teacher:head.mlp. 192-24-24-16 GELU"


def test_the_attacked_row_is_that_of_the_projected_feature(number) -> None:
    attacked, noise = number("pgd(steps=3)"), number("noise")
    assert attacked.metrics["alignment"] > 1.2 * noise.metrics["alignment"] > 0
    assert attacked.metrics["alignment"] != number("pgd(steps=3)", "representation").metrics["alignment"]


def test_the_gradient_comes_through_it(number, tmp_path) -> None:
    encoder = brittle.load_encoder(saved(tmp_path, "own.pth", dino_checkpoint(dino(192, seed=1), dino(192))))
    unit = representation(projector=True).head_on(encoder)
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    projected = unit(encoder(images), (32, 32))
    torch.testing.assert_close(
        projected, nn.functional.normalize(dino(192)(encoder(images).pooled), dim=1), rtol=0, atol=0
    )
    (gradient,) = torch.autograd.grad(projected[:, 0].sum(), images)
    assert gradient.abs().amax((1, 2, 3)).min() > 0


def test_other_weights_of_the_projector_are_another_cell(tmp_path, cell_of) -> None:
    task = "representation(projector=true)"
    one = saved(tmp_path, "one.pth", dino_checkpoint(dino(192), dino(192)))
    other = saved(tmp_path, "other.pth", dino_checkpoint(dino(192), dino(192, seed=1)))
    assert identity.weights_of(one) != identity.weights_of(other)
    assert (
        identity.resolve(cell_of(None, task, encoder=one)).id != identity.resolve(cell_of(None, task, encoder=other)).id
    )
    assert (
        identity.resolve(cell_of(None, task, encoder=one)).id
        != identity.resolve(cell_of(None, "representation", encoder=one)).id
    )


def test_the_command_in_the_docs(tmp_path, request) -> None:
    """With a small checkpoint in place of the published one; and, with one that has no projector, a cell that fails in
    a line."""
    command, (line,) = request.getfixturevalue("brittle"), re.findall(r"`brittle run ([^`]*projector=true[^`]*)`", DOCS)
    _, published, _, scenes, *rest = shlex.split(line)
    assert spec.parse(published).name == "file"
    assert scenes == "scenes"
    text = f"{saved(tmp_path, 'full.pth', dino_checkpoint(dino(192, seed=1), dino(192)))}(size=32)"
    more = [*rest, "-a", "pgd(steps=1)", "--limit", "3", "--output-dir", str(tmp_path / "run")]
    code, out, err = command("run", "-e", text, "-d", SCENES, *more)
    assert code == 0, err
    assert "representation(projector=true)" in out
    code, _, err = command("run", "-e", "pixels(size=8)", "-d", SCENES, *more)
    assert code == 3
    assert "pixels has no projector (it holds none); " in err


def test_what_was_tuned_has_lost_it(tmp_path) -> None:
    from brittle.api import finetune

    base = saved(tmp_path, "full.pth", dino_checkpoint(dino(192, seed=1), dino(192)))
    settings = "deacl(steps=1, batch=2)"
    path = finetune(settings, f"{base}(size=32)", SCENES, output_dir=tmp_path / "tuned", limit=2)
    tuned = brittle.load_encoder(f"file:{path}")
    assert tuned.projector is None
    assert tuned(torch.rand(1, 3, 32, 32)).pooled.shape == (1, 192)
