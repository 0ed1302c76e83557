"""Published ResNet checkpoints: torchvision's, SimCLR's, SimSiam's, MoCo's and solo-learn's, against torchvision's own
forward."""

import pytest
import torch
from made import prefixed, randomised, saved
from torch import nn

import brittle

torchvision = pytest.importorskip("torchvision")


def network(name: str = "resnet18", padding: int | None = None) -> nn.Module:
    made = torchvision.models.__dict__[name](weights=None)
    if padding is not None:
        made.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=padding, bias=False)
        made.maxpool = nn.Identity()
    return randomised(made)


def without_fc(made: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value for key, value in made.state_dict().items() if not key.startswith("fc.")}


def pooled(made: nn.Module, images: torch.Tensor) -> torch.Tensor:
    made.fc = nn.Identity()
    return made(images)


PROJECTOR = {"projector.0.weight": torch.zeros(2, 512), "projector.0.bias": torch.zeros(2)}
SEQUENTIAL = {"conv1": "f.0", "bn1": "f.1", "layer1": "f.3", "layer2": "f.4", "layer3": "f.5", "layer4": "f.6"}


def sequential(made: nn.Module) -> dict[str, torch.Tensor]:
    renamed = {
        f"{SEQUENTIAL[key.split('.')[0]]}.{key.partition('.')[2]}": value for key, value in without_fc(made).items()
    }
    return {**renamed, "g.0.weight": torch.zeros(2), "total_ops": torch.zeros(1), "f.0.total_params": torch.zeros(1)}


CASES = {  # (stem's padding or None, how its authors save it, arch wanted, whether colours are left alone)
    "torchvision": (None, lambda made: made.state_dict(), "resnet18"),
    "imagenet training script": (
        None,
        lambda made: {"epoch": 1, "state_dict": prefixed("module.", made.state_dict())},
        "resnet18",
    ),
    "solo-learn": (
        2,
        lambda made: {"state_dict": {**prefixed("backbone.", without_fc(made)), **PROJECTOR}},
        "solo_resnet18",
    ),
    "solo-learn, old": (
        2,
        lambda made: {"state_dict": {**prefixed("encoder.", without_fc(made)), **PROJECTOR}},
        "solo_resnet18",
    ),
    "solo-learn with momentum": (
        2,
        lambda made: {
            "state_dict": {
                **prefixed("backbone.", without_fc(made)),
                **prefixed("momentum_backbone.", without_fc(network(padding=2))),
            }
        },
        "solo_resnet18",
    ),
    "solo-learn on ImageNet": (
        None,
        lambda made: {"state_dict": {**prefixed("backbone.", without_fc(made)), **PROJECTOR}},
        "resnet18",
    ),
    "simclr, f and g": (1, sequential, "cifar_resnet18"),
    "simclr, resnet and fc": (
        None,
        lambda made: {"resnet": without_fc(made), "fc": {"weight": torch.zeros(2)}},
        "simclr_resnet18",
    ),
    "simclr, backbone with an MLP": (
        None,
        lambda made: {
            "state_dict": {
                **prefixed("backbone.", without_fc(made)),
                "backbone.fc.0.weight": torch.zeros(2),
                "backbone.fc.2.weight": torch.zeros(2),
            }
        },
        "simclr_resnet18",
    ),
    "simsiam": (
        None,
        lambda made: {
            "state_dict": {**prefixed("module.encoder.", without_fc(made)), "module.predictor.0.weight": torch.zeros(2)}
        },
        "resnet18",
    ),
    "mocov3": (
        None,
        lambda made: {
            "state_dict": prefixed("module.base_encoder.", {**without_fc(made), "fc.0.weight": torch.zeros(2)})
        },
        "resnet18",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_family(case, tmp_path) -> None:
    padding, wrap, arch = CASES[case]
    made = network(padding=padding)
    encoder = brittle.load_encoder(saved(tmp_path, "checkpoint.ckpt", wrap(made)))
    assert encoder.about["arch"] == arch
    edge = 32 if padding is not None else 64
    images = torch.rand(2, 3, edge, edge)
    with torch.no_grad():
        found, wanted = encoder(images), pooled(made, encoder.normalise(images))
    torch.testing.assert_close(found.pooled, wanted, rtol=1e-4, atol=1e-5)
    assert found.grid.shape == (2, 512, edge // encoder.patch, edge // encoder.patch)
    if arch.startswith("simclr"):
        assert torch.equal(encoder.normalise(images), images), "SimCLR takes pixels in [0, 1]"


def simclr2(made: nn.Module) -> dict[str, torch.Tensor]:
    """The names of SimCLRv2's PyTorch conversion: ``net.0`` is the stem, ``net.N.blocks.M`` a block of three
    convolutions."""
    names = {f"conv{i + 1}": f"net.{2 * i}" for i in range(3)} | {f"bn{i + 1}": f"net.{2 * i + 1}.0" for i in range(3)}
    names |= {"downsample.0": "projection.shortcut", "downsample.1": "projection.bn.0"}
    state: dict[str, torch.Tensor] = {}
    for key, value in without_fc(made).items():
        words = key.split(".")
        if words[0].startswith("layer"):
            part, rest = (".".join(words[2:4]), words[4:]) if words[2] == "downsample" else (words[2], words[3:])
            key = ".".join([f"net.{words[0][-1]}.blocks.{words[1]}", names[part], *rest])
        else:
            key = key.replace("conv1.", "net.0.0.").replace("bn1.", "net.0.1.0.")
        state[key] = value
    return state


def test_simclr2(tmp_path) -> None:
    made = network("resnet50")
    state = {**simclr2(made), "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    assert {
        "net.0.0.weight",
        "net.0.1.0.running_mean",
        "net.1.blocks.0.projection.bn.0.bias",
        "net.4.blocks.2.net.5.0.weight",
    } <= state.keys()
    encoder = brittle.load_encoder(
        saved(tmp_path, "r50_1x_sk0.pth", {"resnet": state, "head": {"layers.0.weight": torch.zeros(2)}})
    )
    assert encoder.about["arch"] == "simclr_resnet50"
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images).pooled, pooled(made, images), rtol=1e-4, atol=1e-4)


def test_resnet50(tmp_path) -> None:
    made = network("resnet50")
    encoder = brittle.load_encoder(saved(tmp_path, "resnet50.pth", made.state_dict()))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(images).pooled, pooled(made, encoder.normalise(images)), rtol=1e-4, atol=1e-4
        )


def test_what_keys_cannot_tell_is_asked_for(tmp_path) -> None:
    text = saved(tmp_path, "resnet.pth", {"state_dict": network().state_dict()})
    with pytest.raises(brittle.core.errors.UsageError, match=r"arch=, one of resnet18, simclr_resnet18"):
        brittle.load_encoder(text)
    assert brittle.load_encoder(f"{text}(arch=simclr_resnet18)").std.flatten().tolist() == [1, 1, 1]
    text = saved(tmp_path, "small.pth", network(padding=1).state_dict())
    with pytest.raises(brittle.core.errors.UsageError, match=r"solo_resnet18, cifar_resnet18"):
        brittle.load_encoder(text)


def test_mean_and_std_come_from_the_checkpoint_or_the_spec(tmp_path) -> None:
    state = {
        **without_fc(network(padding=2)),
        "normalize.mean": torch.tensor([0.1, 0.2, 0.3]),
        "normalize.std": torch.tensor([0.4, 0.5, 0.6]),
    }
    text = saved(tmp_path, "deacl.ckpt", {"state_dict": prefixed("backbone.", state)})
    assert brittle.load_encoder(text).mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    given = brittle.load_encoder(f"{text}(mean=[0, 0, 0], std=[1, 1, 1])")
    assert given.mean.flatten().tolist() == [0, 0, 0]
