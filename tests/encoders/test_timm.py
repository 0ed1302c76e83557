"""timm's models of every build: features of the promised shape, at other sizes as well, and levels below the last."""

from pathlib import Path

import pytest
import torch

import brittle
from brittle.core.errors import UsageError
from brittle.planning import identity

MODELS = {  # name: (size, whether other sizes work, kind of pooled)
    "test_vit": (160, True, "cls"),
    "test_vit3": (160, True, "mean"),
    "test_resnet": (160, True, "mean"),
    "test_convnext": (160, True, "mean"),
    "test_efficientnet": (160, True, "mean"),
    "vit_tiny_r_s16_p8_224": (64, True, "cls"),
    "deit_tiny_distilled_patch16_224": (64, True, "cls"),
    "eva02_tiny_patch14_224": (56, True, "cls"),
    "swin_tiny_patch4_window7_224": (64, True, "mean"),
    "xcit_nano_12_p16_224": (64, True, "mean"),
    "vit_medium_patch16_reg4_gap_256": (64, True, "mean"),
    "beit_base_patch16_224": (32, False, "cls"),
}


@pytest.mark.parametrize("name", MODELS)
def test_model(name) -> None:
    size, flexible, kind = MODELS[name]
    encoder = brittle.load_encoder(f"timm:{name}(pretrained=false, size={size})")
    assert encoder.size == size
    for height, width in [(size, size), (size - 3, size + 20)][: 1 + flexible]:
        images = torch.rand(1, 3, height, width, requires_grad=True)
        found = encoder(images)
        assert found.pooled.shape == (1, encoder.dim)
        assert found.grid.shape == (1, encoder.dim, -(-height // encoder.patch), -(-width // encoder.patch))
        (gradient,) = torch.autograd.grad((found.pooled * torch.randn(encoder.dim)).sum(), images)
        assert gradient.abs().sum() > 0
    same = torch.allclose(found.pooled, found.grid.mean((2, 3)), atol=1e-5)
    assert same == (kind == "mean")
    assert {"sha256", "licence", "parameters", "source", "fingerprint"} <= encoder.about.keys()


def test_a_model_of_one_size_says_so() -> None:
    encoder = brittle.load_encoder("timm:beit_base_patch16_224(pretrained=false, size=32)")
    with pytest.raises(UsageError, match="takes no images of 48x48"):
        encoder(torch.rand(1, 3, 48, 48))


def test_layer() -> None:
    images = torch.rand(1, 3, 160, 160)
    last = brittle.load_encoder("timm:test_vit(pretrained=false)")
    first = brittle.load_encoder("timm:test_vit(pretrained=false, layer=0)")
    network = last.network
    tokens = network.blocks[0](network._pos_embed(network.patch_embed(last.normalise(images))))
    torch.testing.assert_close(first(images).pooled, network.norm(tokens)[:, 0])
    assert not torch.equal(first(images).pooled, last(images).pooled)
    stage = brittle.load_encoder("timm:test_resnet(pretrained=false, layer=-2)")
    assert stage(images).grid.shape == (1, stage.dim, 160 // stage.patch, 160 // stage.patch)
    assert stage.patch == 16
    with pytest.raises(UsageError, match="has layers -6 to 5, got layer=6"):
        brittle.load_encoder("timm:test_vit(pretrained=false, layer=6)")


def test_what_changes_features_changes_the_fingerprint() -> None:
    specs = [
        "timm:test_vit(pretrained=false)",
        "timm:test_vit(pretrained=false, layer=1)",
        "timm:test_vit(pretrained=false, size=96)",
    ]
    specs.append("timm:test_vit(pretrained=false, layer=0)")
    assert len({identity.weights_of(text) for text in specs}) == 4
    for text in specs:
        assert identity.weights_of(text) == brittle.load_encoder(text).about["fingerprint"]


def test_the_name_is_part_of_the_fingerprint() -> None:
    """Equal weights, another activation."""
    names = ("vit_medium_patch16_clip_224", "vit_base_patch16_clip_quickgelu_224", "vit_base_patch16_clip_224")
    from brittle.encoders import timm as module

    assert len({module._identity(name, "sha", {"size": 0, "layer": -1, "pooled": "tokens"}) for name in names}) == 3


def saved(path: Path, content: object) -> str:
    torch.save(content, path)
    return f"timm:test_vit(checkpoint='{path}')"


def test_a_checkpoint_as_timm_saves_it(tmp_path) -> None:
    """Bare, of a training script, of a compiled or a distributed model; the averaged weights where there are any."""
    import timm

    def state(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return timm.create_model("test_vit", num_classes=7).state_dict()

    one, two = state(0), state(1)
    prefixed = [{f"{prefix}{key}": value for key, value in one.items()} for prefix in ("module.", "_orig_mod.")]
    for content in (
        one,
        {"state_dict": one, "epoch": 3},
        {"model": one},
        *prefixed,
        {"state_dict": two, "state_dict_ema": one},
    ):
        text = saved(tmp_path / "weights.pth", content)
        encoder = brittle.load_encoder(text)
        assert torch.equal(encoder.network.pos_embed, one["pos_embed"])
        assert encoder.about["fingerprint"] == identity.weights_of(text)
    plain = brittle.load_encoder("timm:test_vit(pretrained=false)")
    assert torch.equal(encoder.mean, plain.mean)


def test_a_checkpoint_that_does_not_fit(tmp_path) -> None:
    import timm

    other = timm.create_model("test_vit2").state_dict()
    for text, why in (
        (saved(tmp_path / "other.pth", other), "does not fit"),
        (f"timm:test_vit(checkpoint={tmp_path}/absent.pth)", "no file"),
        (saved(tmp_path / "none.pth", {"epoch": 3}), "does not fit"),
    ):
        with pytest.raises(brittle.core.errors.BrittleError, match=why) as caught:
            brittle.load_encoder(text)
        assert "\n" not in str(caught.value)
