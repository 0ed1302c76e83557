"""Every way in: at the native size the features are the published model's, also where the patch does not divide it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.hiera import Hiera
from timm.models.hieradet_sam2 import HieraDet
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

import brittle
from benchmark import benchmark
from brittle.core.errors import UsageError
from brittle.encoders.parts.timm_network import TimmEncoder

SIDE, PATCH = 30, 8  # 3 patches and 6 pixels that the published models pass over


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def filled(network: nn.Module) -> Any:
    """Random weights under which every token counts."""
    with torch.no_grad():
        for name, value in network.named_parameters():  # all of each, as some are made without any values
            scale = float(value.dim() == 1 and name.endswith("weight"))
            value.copy_(scale + 0.1 * torch.randn(value.shape, generator=generator()))
    return network.eval()


def wrapped(network: nn.Module, side: int = SIDE, patch: int = PATCH, **options: Any) -> TimmEncoder:
    facts: dict[str, Any] = {"size": side, "native": (side, side), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    return TimmEncoder(network, patch, about={"source": "own"}, **facts, **options).eval()


def vit(**options: Any) -> Any:
    torch.manual_seed(0)
    return filled(VisionTransformer(SIDE, PATCH, embed_dim=32, depth=2, num_heads=2, num_classes=0, **options))


def pixels(side: int = SIDE) -> Tensor:
    return torch.rand(1, 3, side, side, generator=generator())


def tokens_of(grid: Tensor) -> Tensor:
    return grid.flatten(2).transpose(1, 2)


def test_timm() -> None:
    published, flexible = vit(), vit(dynamic_img_size=True)
    encoder = wrapped(flexible)
    with torch.no_grad():
        found = encoder(pixels())
        wanted = published.forward_features(encoder.normalise(pixels()))
        other = encoder(torch.rand(1, 3, 29, 37, generator=generator()))
    assert found.grid.shape == (1, 32, 3, 3), "padded to 4 x 4 it is another model"
    torch.testing.assert_close(tokens_of(found.grid), wanted[:, 1:])
    torch.testing.assert_close(found.pooled, wanted[:, 0])
    assert other.grid.shape == (1, 32, 4, 5)


def test_timm_by_name() -> None:
    """A CNN whose own images are no multiple of its stride."""
    encoder = brittle.load_encoder("timm:tinynet_e(pretrained=false)")
    images = pixels(106)
    with torch.no_grad():
        (wanted,) = encoder.network.forward_intermediates(
            encoder.normalise(images), indices=[-1], intermediates_only=True
        )
        torch.testing.assert_close(encoder(images).grid, wanted)


def test_open_clip(tmp_path: Path) -> None:
    library = pytest.importorskip("open_clip")
    sizes = {"image_size": SIDE, "layers": 2, "width": 64, "patch_size": PATCH, "head_width": 32}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    (tmp_path / "uneven-clip.json").write_text(
        json.dumps({"embed_dim": 16, "vision_cfg": sizes, "text_cfg": text}), encoding="utf8"
    )
    library.add_model_config(tmp_path / "uneven-clip.json")
    model = filled(library.create_model("uneven-clip", load_weights=False))
    torch.save(model.state_dict(), tmp_path / "clip.pt")
    encoder = brittle.load_encoder(f"open_clip:uneven-clip/{tmp_path}/clip.pt")
    with torch.no_grad():
        found = encoder(pixels())
        torch.testing.assert_close(found.pooled @ model.visual.proj, model.encode_image(encoder.normalise(pixels())))
    assert found.grid.shape == (1, 64, 3, 3)


def test_hf(tmp_path: Path) -> None:
    """SigLIP, whose published size is 384 with a patch of 14; the other types are in ``test_hf``."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.SiglipVisionConfig(**sizes, image_size=SIDE, patch_size=PATCH)
    model = filled(transformers.SiglipVisionModel(config))
    model.save_pretrained(tmp_path)
    for text, pooled in ((f"hf:{tmp_path}", "tokens"), (f"hf:{tmp_path}(pooled=native)", "native")):
        encoder = brittle.load_encoder(text)
        with torch.no_grad():
            found, wanted = encoder(pixels()), model(pixel_values=encoder.normalise(pixels()))
        torch.testing.assert_close(tokens_of(found.grid), wanted.last_hidden_state)
        own = wanted.pooler_output if pooled == "native" else wanted.last_hidden_state.mean(1)
        torch.testing.assert_close(found.pooled, own)


def test_file(tmp_path: Path) -> None:
    """Every published architecture has a native size that its patch divides; its positions are then its own."""
    from brittle.encoders.parts.architectures import ARCHITECTURES

    assert not [name for name, known in ARCHITECTURES.items() if known.size % known.patch]
    network = filled(ARCHITECTURES["dino_vitt16"].make())
    torch.save(network.state_dict(), tmp_path / "dino.pth")
    encoder = brittle.load_encoder(f"file:{tmp_path}/dino.pth")
    with torch.no_grad():
        plain = VisionTransformer(224, 16, embed_dim=192, depth=12, num_heads=3, num_classes=0).eval()
        plain.load_state_dict(network.state_dict())
        torch.testing.assert_close(
            tokens_of(encoder(pixels(224)).grid), plain.forward_features(encoder.normalise(pixels(224)))[:, 1:]
        )


def test_py(tmp_path: Path) -> None:
    source = "from torch import nn\n\ndef f():\n    return nn.Conv2d(3, 6, 8, stride=8)\n"
    (tmp_path / "own.py").write_text(source, encoding="utf8")
    encoder = brittle.load_encoder(f"py:{tmp_path}/own.py:f(size={SIDE})")
    with torch.no_grad():
        assert torch.equal(encoder(pixels()).grid, encoder.module(pixels()))


@pytest.mark.parametrize("pool", ["map", "avg"])
def test_pooled_native_is_what_the_model_pools(pool: str) -> None:
    published = vit(global_pool=pool, class_token=False)
    encoder = wrapped(vit(global_pool=pool, class_token=False, dynamic_img_size=True), pooled="native")
    with torch.no_grad():
        torch.testing.assert_close(encoder(pixels()).pooled, published(encoder.normalise(pixels())))
        plain = wrapped(encoder.network)(pixels())
    torch.testing.assert_close(plain.pooled, plain.grid.mean((2, 3)))
    assert not torch.allclose(plain.pooled, encoder(pixels()).pooled)


def test_pooled_native_of_another_width_is_refused_in_a_line() -> None:
    encoder = brittle.load_encoder("timm:tinynet_e(pretrained=false, pooled=native)")
    with pytest.raises(UsageError, match=r"pools to 1280 numbers, its grid has 160; leave pooled=native out"):
        encoder(pixels(106))


def hiera() -> nn.Module:
    options: dict[str, Any] = {"embed_dim": 16, "num_heads": 1, "stages": (1, 1, 1), "q_pool": 2}
    return Hiera(img_size=(64, 64), mask_unit_size=(4, 4), num_classes=0, **options)


def sam2() -> nn.Module:
    spans: dict[str, Any] = {"stages": (1, 1, 1, 1), "global_att_blocks": (), "window_spec": (4, 4, 4, 4)}
    return HieraDet(embed_dim=16, num_heads=1, num_classes=0, **spans)


@pytest.mark.parametrize(("make", "side"), [(hiera, 64), (sam2, 128)])
def test_a_model_without_a_norm_on_its_grid_is_taken_and_says_so(make: Any, side: int) -> None:
    network = filled(make())
    encoder = wrapped(network, side, int(network.feature_info[-1]["reduction"]))
    with torch.no_grad():
        found = encoder(pixels(side))
        wanted = network.forward_features(encoder.normalise(pixels(side)))
    wanted = wanted.movedim(-1, 1) if wanted.dim() == 4 else wanted.transpose(1, 2).reshape(found.grid.shape)
    torch.testing.assert_close(found.grid, wanted)
    assert found.pooled.shape == (1, encoder.dim)
    assert "before the final norm" in encoder.about["grid"]


def test_the_width_is_that_of_the_neck() -> None:
    """SAM's image encoder ends in a neck of fewer channels than its blocks have."""
    sizes: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 2, "neck_chans": 24, "num_classes": 0}
    network = filled(VisionTransformerSAM(img_size=64, patch_size=16, window_size=2, global_attn_indexes=(1,), **sizes))
    encoder = wrapped(network, 64, 16)
    with torch.no_grad():
        found = encoder(pixels(64))
        torch.testing.assert_close(found.grid, network.forward_features(encoder.normalise(pixels(64))))
    assert encoder.dim == 24
    assert found.pooled.shape == (1, 24)


SWEEP = benchmark("encoders")


@pytest.mark.parametrize("family", SWEEP.QUICK)
def test_a_family_of_timm(family: str) -> None:
    """Some of the sweep over all of them."""
    assert list(SWEEP.wrongs(SWEEP.smallest(family))) == []
