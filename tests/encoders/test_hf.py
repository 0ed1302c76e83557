"""transformers' vision encoders, each tiny and random, from a folder as save_pretrained leaves it; no network."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import brittle
from brittle.core.errors import MissingError, UsageError
from brittle.planning import identity

transformers = pytest.importorskip("transformers")

BODY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {  # family: (configuration, model, what it needs besides)
    "dinov2": ("Dinov2Config", "Dinov2Model", {"mlp_ratio": 2}),
    "dinov2_with_registers": (
        "Dinov2WithRegistersConfig",
        "Dinov2WithRegistersModel",
        {"mlp_ratio": 2, "num_register_tokens": 3},
    ),
    "dinov3_vit": ("DINOv3ViTConfig", "DINOv3ViTModel", {"num_register_tokens": 4}),
    "vit": ("ViTConfig", "ViTModel", {}),
    "deit": ("DeiTConfig", "DeiTModel", {}),
    "clip": ("CLIPVisionConfig", "CLIPVisionModel", {}),
    "siglip": ("SiglipVisionConfig", "SiglipVisionModel", {}),
    "vit_msn": ("ViTMSNConfig", "ViTMSNModel", {}),
    "beit": ("BeitConfig", "BeitModel", {"use_relative_position_bias": True}),
    "beit, no pooling": ("BeitConfig", "BeitModel", {"use_mean_pooling": False}),
    "ijepa": ("IJepaConfig", "IJepaModel", {}),
    "resnet": ("ResNetConfig", "ResNetModel", {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}),
    "convnext": (
        "ConvNextConfig",
        "ConvNextModel",
        {"hidden_sizes": [8, 16, 32], "depths": [1, 1, 1], "num_stages": 3},
    ),
}
PREFIX = {"dinov2": 1, "dinov2_with_registers": 4, "dinov3_vit": 5, "deit": 2, "siglip": 0, "ijepa": 0}


def made(family: str, folder: Path, seed: int = 0, **sizes: Any) -> Any:
    config, model, extra = CASES[family]
    body = {} if family in ("resnet", "convnext") else BODY | sizes
    torch.manual_seed(seed)
    network = getattr(transformers, model)(getattr(transformers, config)(**body, **extra)).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.05 * torch.randn(value.shape))
    network.save_pretrained(folder)
    facts = {
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
        "size": {"shortest_edge": 40},
        "crop_size": {"height": 32, "width": 32},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(facts), encoding="utf8")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf8")
    return network


def tokens(family: str, network: Any, images: torch.Tensor) -> torch.Tensor:
    """Last hidden state with the final norm, from the model itself."""
    last = network(pixel_values=images).last_hidden_state
    if family == "clip":
        last = network.post_layernorm(last)
    return network.pooler.layernorm(last) if family == "beit" else last


@pytest.mark.parametrize("family", CASES)
def test_family(family, tmp_path) -> None:
    network = made(family, tmp_path)
    encoder = brittle.load_encoder(f"hf:{tmp_path}")
    assert encoder.size == 32
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found, last = encoder(images), tokens(family, network, encoder.normalise(images))
    if last.dim() == 4:
        torch.testing.assert_close(found.grid, last)
        torch.testing.assert_close(found.pooled, last.mean((2, 3)))
    else:
        prefix = PREFIX.get(family, 1)
        patches = last[:, prefix:]
        torch.testing.assert_close(found.grid.flatten(2).transpose(1, 2), patches)
        assert torch.equal(found.grid[:, :, 1, 2], found.grid.flatten(2)[:, :, 6])
        torch.testing.assert_close(found.pooled, last[:, 0] if prefix else patches.mean(1))
    torch.testing.assert_close(encoder.mean.flatten(), torch.tensor([0.4, 0.5, 0.6]))
    assert encoder.about["licence"] == "apache-2.0"
    assert encoder.about["sha256"] == brittle.core.files.sha256_of_file(tmp_path / "model.safetensors")


@pytest.mark.parametrize("family", CASES)
def test_other_sizes_and_gradients(family, tmp_path) -> None:
    made(family, tmp_path)
    encoder = brittle.load_encoder(f"hf:{tmp_path}(size=48)")
    assert encoder.size == 48
    images = torch.rand(1, 3, 37, 50, requires_grad=True)
    found = encoder(images)
    assert found.grid.shape == (1, encoder.dim, -(-37 // encoder.patch), -(-50 // encoder.patch))
    for value in found:
        (gradient,) = torch.autograd.grad((value * torch.randn(value.shape)).sum(), images, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("family", CASES)
def test_native_images_that_the_patch_does_not_divide(family, tmp_path) -> None:
    """As SigLIP's 384 with a patch of 14: the last pixels are passed over, and no position is interpolated."""
    network = made(family, tmp_path, image_size=30)
    facts = {"size": {"height": 30, "width": 30}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(facts), encoding="utf8")
    encoder = brittle.load_encoder(f"hf:{tmp_path}")
    images = torch.rand(1, 3, 30, 30)
    with torch.no_grad():
        found, last = encoder(images), tokens(family, network, encoder.normalise(images))
    if last.dim() == 4:
        torch.testing.assert_close(found.grid, last)
    else:
        assert found.grid.shape[-2:] == (3, 3)
        torch.testing.assert_close(found.grid.flatten(2).transpose(1, 2), last[:, PREFIX.get(family, 1) :])
    for height, width in ((26, 26), (30, 44), (37, 19)):
        with torch.no_grad():
            grid = encoder(torch.rand(1, 3, height, width)).grid
        assert grid.shape[-2:] == (-(-height // encoder.patch), -(-width // encoder.patch))


@pytest.mark.parametrize("family", CASES)
def test_pooled_native_is_what_its_pooler_makes(family, tmp_path) -> None:
    network = made(family, tmp_path)
    encoder = brittle.load_encoder(f"hf:{tmp_path}(pooled=native)")
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        wanted = getattr(network(pixel_values=encoder.normalise(images)), "pooler_output", None)
        if wanted is None:
            with pytest.raises(UsageError, match="has no pooling of its own; leave pooled=native out"):
                encoder(images)
        else:
            torch.testing.assert_close(encoder(images).pooled, wanted.flatten(1))
    assert identity.weights_of(f"hf:{tmp_path}") != encoder.about["fingerprint"]


def test_a_pooler_without_weights_is_refused(tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    made("siglip", tmp_path)
    kept = {key: value for key, value in load_file(tmp_path / "model.safetensors").items() if "head." not in key}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert brittle.load_encoder(f"hf:{tmp_path}").dim == 32
    with pytest.raises(UsageError, match="does not fit SiglipVisionModel.*missing: head"):
        brittle.load_encoder(f"hf:{tmp_path}(pooled=native)")


def with_config(folder: Path, **changes: Any) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf8")
    return f"hf:{folder}"


ASKING = {
    "attention": {"attn_implementation": "org/kernel"},
    "its inner name": {"_attn_implementation": "org/kernel", "_attn_implementation_internal": "org/kernel"},
    "experts": {"experts_implementation": "org/kernel"},
    "kernels": {"use_kernels": True, "kernel_config": {"RMSNorm": "org/kernel:layer"}},
    "fusion": {"fusion_config": {"all": True}},
    "quantisation": {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
    "classes": {"auto_map": {"AutoModel": "org/repo--modeling.Evil", "AutoConfig": "modeling.Evil"}},
    "pipelines": {"custom_pipelines": {"x": {"impl": "evil.Evil"}}},
    "another file": {"transformers_weights": "../../elsewhere.safetensors"},
    "precision": {"torch_dtype": "float16", "dtype": "float16"},
}


@pytest.mark.parametrize("what", ASKING)
@pytest.mark.parametrize("pretrained", ["true", "false"])
def test_a_configuration_asks_for_nothing(what, pretrained, tmp_path, monkeypatch) -> None:
    """Nothing but the sizes and options of the class is read, so features are those without it."""
    import huggingface_hub

    made("vit", tmp_path)
    images = torch.rand(1, 3, 32, 32)
    settings = f"(pretrained={pretrained})"
    plain = brittle.load_encoder(f"hf:{tmp_path}{settings}")(images)
    for name in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(huggingface_hub, name, lambda *_, **__: pytest.fail("the hub was asked"))
    encoder = brittle.load_encoder(with_config(tmp_path, **ASKING[what]) + settings)
    assert torch.equal(encoder(images).grid, plain.grid)
    assert encoder.network.config._attn_implementation in ("eager", "sdpa")


def test_an_adapter_beside_the_weights_is_passed_over(tmp_path) -> None:
    made("vit", tmp_path)
    adapter = {"base_model_name_or_path": "nobody/else", "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter), encoding="utf8")
    assert brittle.load_encoder(f"hf:{tmp_path}").dim == 32


OUT_OF_BOUNDS = {
    "num_hidden_layers": (10**7, -(10**7), 1e300, "x", None, [1]),
    "hidden_size": (10**9, 0, -1, "32"),
    "intermediate_size": (10**12, "x"),
    "num_attention_heads": (0, 10**9),
    "image_size": (10**9, 0, [10**9, 2]),
    "patch_size": (0, -8, 10**9, "8"),
    "num_channels": (1, 10**9),
    "hidden_act": ("no_such_act", "os.system", 3),
    "layer_norm_eps": (float("nan"), float("inf")),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in OUT_OF_BOUNDS.items() for value in values])
def test_values_of_a_configuration_that_make_no_model(key, value, tmp_path) -> None:
    made("vit", tmp_path)
    for settings in ("", "(pretrained=false)"):
        with pytest.raises(UsageError) as caught:
            brittle.load_encoder(with_config(tmp_path, **{key: value}) + settings)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 900


@pytest.mark.timeout(60)
def test_a_model_of_too_many_parameters(tmp_path) -> None:
    made("vit", tmp_path)
    text = with_config(tmp_path, hidden_size=10**6, num_attention_heads=1, num_hidden_layers=900)
    with pytest.raises(UsageError, match=r"asks for 3\.\de\+15 parameters; at most 2e\+10 are taken"):
        brittle.load_encoder(f"{text}(pretrained=false)")


@pytest.mark.parametrize(
    "facts",
    ["[]", "3", "{", "[" * 100000, '{"image_mean": "x"}', '{"image_mean": [1, 2]}', '{"image_std": [0, 0, 0]}',
     '{"image_std": [NaN, 1, 1]}', '{"size": "big"}', '{"size": -3}', '{"size": 1e9}', '{"size": 1000000000}',
     '{"crop_size": {"height": NaN}}', '{"rescale_factor": "a"}', '{"rescale_factor": NaN}'],
)  # fmt: skip
def test_a_preprocessor_that_makes_no_sense(facts, tmp_path) -> None:
    made("vit", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(facts, encoding="utf8")
    with pytest.raises(UsageError) as caught:
        brittle.load_encoder(f"hf:{tmp_path}")
    assert "\n" not in str(caught.value)


def test_it_is_in_evaluation_mode_however_it_is_made(tmp_path) -> None:
    """DINOv3 moves its positions at random in train mode."""
    from brittle.core import components

    made("dinov3_vit", tmp_path)
    encoder = components.build("encoders", f"hf:{tmp_path}")
    assert not any(module.training for module in encoder.modules())


def test_a_whole_clip_gives_its_visual_tower(tmp_path) -> None:
    text = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 50,
    }
    config = transformers.CLIPConfig(text_config=text, vision_config=BODY, projection_dim=8)
    whole = transformers.CLIPModel(config).eval()
    whole.save_pretrained(tmp_path)
    encoder = brittle.load_encoder(f"hf:{tmp_path}")
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        wanted = whole.vision_model(pixel_values=encoder.normalise(images)).pooler_output
        torch.testing.assert_close(encoder(images).pooled, wanted)


def test_random_weights(tmp_path) -> None:
    made("dinov2", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    text = f"hf:{tmp_path}(pretrained=false)"
    images = torch.rand(1, 3, 32, 32)
    one, two = brittle.load_encoder(text), brittle.load_encoder(text)
    assert torch.equal(one(images).pooled, two(images).pooled)
    assert identity.weights_of(text) == one.about["fingerprint"]
    with pytest.raises(MissingError, match="no weights in"):
        brittle.load_encoder(f"hf:{tmp_path}")


def test_the_fingerprint_follows_weights_and_configuration(tmp_path) -> None:
    made("vit", tmp_path)
    text = f"hf:{tmp_path}"
    first = identity.weights_of(text)
    assert first == brittle.load_encoder(text).about["fingerprint"]
    made("vit", tmp_path, seed=1)
    second = identity.weights_of(text)
    (tmp_path / "preprocessor_config.json").write_text("{}", encoding="utf8")
    assert len({first, second, identity.weights_of(text), identity.weights_of(f"{text}(size=48)")}) == 4


@pytest.mark.threat("remote code")
def test_nothing_of_the_repository_is_run(tmp_path) -> None:
    made("vit", tmp_path)
    canary = tmp_path / "canary"
    (tmp_path / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w').close()\n", encoding="utf8")
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf8")
    brittle.load_encoder(f"hf:{tmp_path}")
    assert not canary.exists()


@pytest.mark.threat("pickle")
def test_a_pickle_that_would_run_code(tmp_path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path}/canary",)

    made("vit", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"weight": Canary()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match="refused, its pickle asks for posix.system, which could run code"):
        brittle.load_encoder(f"hf:{tmp_path}")
    assert not (tmp_path / "canary").exists()


@pytest.mark.fault("F21")
def test_missing_weights_are_refused(tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    made("vit", tmp_path)
    kept = {
        key: value
        for key, value in load_file(tmp_path / "model.safetensors").items()
        if "layers.1" not in key and "layer.1." not in key
    }
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"does not fit ViTModel \(\d+\.\d % of its keys\): "):
        brittle.load_encoder(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("kind", "why"),
    [("vit_mae", r"masks 75 %.*timm:vit_base_patch16_224\.mae"), ("bert", "is of type 'bert'; there is beit, clip")],
)
def test_types_that_are_refused(kind, why, tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf8")
    with pytest.raises(UsageError, match=why):
        brittle.load_encoder(f"hf:{tmp_path}")


def test_a_name_that_is_not_in_the_cache(tmp_path, monkeypatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingError, match="run once with a network"):
        brittle.load_encoder("hf:facebook/dinov2-small-that-is-not-there(revision=abc)")


def test_without_transformers(tmp_path, monkeypatch) -> None:
    import sys

    made("vit", tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        MissingError, match=r"needs the package 'transformers'; .* pip install -c constraints.txt '\.\[hf\]'$"
    ):
        brittle.load_encoder(f"hf:{tmp_path}")
