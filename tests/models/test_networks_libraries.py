"""model:timm: and model:torchvision: what the libraries' own transforms and networks predict, checkpoints, classes."""

import pytest
import timm
import torch
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torchvision import models as library

import brittle
from brittle.core import components
from brittle.core.errors import BrittleError, UsageError
from brittle.planning.identity import predicts, weights_of

DATA = "scenes(train=8, val=8, test=8)"
LABELS = ("resnet18", "vit_tiny_patch16_224", "convnext_atto")
VISION = ("resnet18", "mobilenet_v3_small", "lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large")


def images(*size: int) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))


def own_timm(name: str, **options) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return timm.create_model(name, **options).eval()


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("size", [(301, 250), (75, 101)])
def test_timm_predicts_as_timm(name, size, tmp_path) -> None:
    """Its own transforms of an image that is a tensor, then its model; and without them the image as it is taken."""
    network = own_timm(name)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    text = f"timm:{name}(checkpoint={tmp_path / 'weights.pth'}, at=image)"
    whole = brittle.load_model(text)
    transforms = create_transform(**resolve_data_config(model=network), is_training=False)
    with torch.no_grad():
        assert (whole(images(*size)) - network(transforms(images(*size)))).abs().max() < 1e-5
        plain = brittle.load_model(text.replace(", at=image", ""))
        mean, std = (torch.tensor(network.default_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        given = images(224, 224)
        assert (plain(given) - network((given - mean) / std)).abs().max() < 1e-5
    whole.require_gradient(images(*size))
    assert whole.encoder is None
    assert plain.encoder is not None


@pytest.mark.parametrize("name", VISION)
def test_torchvision_predicts_as_torchvision(name, tmp_path) -> None:
    dense = "large" in name
    options = {"weights_backbone": None} if dense else {}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = library.get_model(name, weights=None, **options).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    whole = brittle.load_model(f"torchvision:{name}(checkpoint={tmp_path / 'weights.pth'}, at=image)")
    transforms = library.get_model_weights(name)["DEFAULT"].transforms()
    given = images(75, 101)
    with torch.no_grad():
        right = network(transforms(given))
        right = right["out"] if dense else right
        assert (whole(given) - right).abs().max() <= 1e-5 * right.abs().max().clamp(min=1)
    whole.require_gradient(given)
    assert whole.predicts == {"classes", "per_pixel" if dense else "per_image"}
    assert len(whole.classes) == right.shape[1]
    assert (whole.encoder is not None) == dense


def test_classes_of_imagenet_in_a_folder(tmp_path) -> None:
    """Two synsets of a thousand."""
    network = own_timm("resnet18")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    whole = brittle.load_model("timm:resnet18(pretrained=false)")
    assert whole.classes[1].startswith("n01443537, goldfish")
    assert brittle.load_model(f"timm:resnet18(checkpoint={tmp_path / 'weights.pth'})").classes == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("timm:resnet81", "no timm model 'resnet81'"),
        ("timm:resnet18(pretrained=false, checkpoint=nowhere.pth)", "nowhere.pth"),
        ("timm:vit_small_patch14_dinov2.lvd142m", "has no classifier; use -e timm: for the encoder"),
        ("torchvision:resnet81", "no torchvision model for labels or masks 'resnet81'; did you mean"),
        ("torchvision:resnet18(weights=IMAGENET)", "no weights of torchvision's resnet18 called 'IMAGENET'"),
        ("torchvision:resnet18(outputs=7)", "has weights of 1000 classes, got outputs=7"),
        ("torchvision:maskrcnn_resnet50_fpn", "no torchvision model for labels or masks"),
        ("embedded:vnet", "no embedded network 'vnet'; did you mean 'unet'?"),
    ],
)
def test_one_line(text, words) -> None:
    with pytest.raises(BrittleError) as error:
        brittle.load_model(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "model:timm:resnet18(pretrained=false, outputs=8, size=32)",
        "model:torchvision:resnet18(weights=none, outputs=8, size=32)",
        "model:torchvision:lraspp_mobilenet_v3_large(weights=none, outputs=10, size=64)",
        "model:embedded:unet",
    ],
)
def test_a_run_ends_with_rows(text, tmp_path) -> None:
    network = components.build("encoders", text)
    assert network.about["fingerprint"] == weights_of(text)
    assert network.predicts == predicts(text)
    results = brittle.run(
        [text], [DATA], attacks=["downstream", "embed(steps=2)"], limit=4, checks="none", output_dir=tmp_path / "run"
    )
    features = network.encoder is not None
    assert [result.failed for result in results] == [None] * (2 + features)


def test_labels_are_cropped_before_the_attack_as_the_library_crops(tmp_path) -> None:
    text = "model:torchvision:resnet18(weights=none, outputs=8, size=56)"
    clean, _ = brittle.run(
        [text], [DATA], attacks=["pgd(steps=1)"], limit=2, checks="none", output_dir=tmp_path / "run"
    )
    assert "shorter edge 64, centre crop of 56" in clean.made_by["protocol"]


def test_an_attack_on_the_network_itself_and_on_its_encoder(tmp_path) -> None:
    """The encoder shares the network's weights."""
    network = own_timm("resnet18", num_classes=8)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    whole = brittle.load_model(f"timm:resnet18(checkpoint={tmp_path / 'weights.pth'}, outputs=8, size=64)")
    assert whole.encoder is not None
    given = images(64, 64)
    mean, std = (torch.tensor(network.default_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        right = network.forward_features((given - mean) / std)
        assert torch.allclose(whole.encoder(given).grid, right, atol=1e-5)
    own = {id(weight) for weight in whole.body.parameters()}
    assert all(id(weight) in own for weight in whole.encoder.parameters())
    moved = brittle.attack(whole.encoder, given, attack="embed(steps=2)")
    assert not torch.equal(moved, given)


def test_one_line_for_a_checkpoint_of_another_network(tmp_path) -> None:
    torch.save(own_timm("resnet18").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(UsageError, match="does not fit"):
        brittle.load_model(f"timm:resnet34(checkpoint={tmp_path / 'weights.pth'})")
    with pytest.raises(UsageError, match="does not fit"):
        brittle.load_model(f"torchvision:resnet34(checkpoint={tmp_path / 'weights.pth'})")


def test_segmentation_models_as_the_library(tmp_path) -> None:
    """Saved by the library's own ``save_pretrained`` and as a checkpoint; edges that are no multiples are filled up."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = smp.create_model("fpn", "resnet18", encoder_weights=None, classes=10).eval()
    network.save_pretrained(tmp_path / "fpn")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    mean, std = (torch.tensor(colour).view(1, 3, 1, 1) for colour in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    given = images(64, 96)
    for text in (
        f"smp:{tmp_path / 'fpn'}",
        f"smp:fpn(backbone=resnet18, outputs=10, checkpoint={tmp_path}/weights.pth)",
    ):
        whole = brittle.load_model(text)
        with torch.no_grad():
            assert (whole(given) - network((given - mean) / std)).abs().max() < 1e-5
            assert whole(images(37, 50)).shape == (2, 10, 37, 50)
        assert whole.about["fingerprint"] == weights_of(f"model:{text}")
    assert weights_of(f"model:{text}") != weights_of("model:smp:fpn(backbone=resnet18, outputs=10)")
    clean, _, moved = brittle.run(
        [f"model:{text}"], [DATA], attacks=["segpgd(steps=2)", "embed(steps=2)"], limit=2, output_dir=tmp_path / "run"
    )
    assert (clean.failed, moved.failed) == (None, None)
    for wrong, words in (
        ("smp:unit", "no architecture of segmentation-models-pytorch 'unit'; did you mean 'unet'?"),
        ("smp:unet(backbone=resnet81)", "cannot be made of"),
        (f"smp:unet(backbone=resnet18, checkpoint={tmp_path}/weights.pth)", "does not fit"),
        (f"smp:{tmp_path}", "no config.json in"),
    ):
        with pytest.raises(BrittleError, match=words.replace("?", ".").replace("(", ".")) as error:
            brittle.load_model(wrong)
        assert "\n" not in str(error.value)
