"""Features of DINO and DINOv2, loaded through ``file:``, against those of their authors' own code on the same weights and pictures."""

import copy
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import brittle
from brittle.backbones import TimmEncoder
from brittle.types import Encoder, Features

HERE = Path(__file__).parent
RECORDED = np.load(HERE / "backbones_a.npz")
KEYS = json.loads((HERE / "backbone_keys_a.json").read_text(encoding="utf8"))
CASES = sorted({name.split("/")[0] for name in RECORDED.files})
TIMM = {
    "dino_vits16": "vit_small_patch16_224.dino",
    "dinov2_vits14": "vit_small_patch14_dinov2",
    "dinov2_vits14_reg": "vit_small_patch14_reg4_dinov2",
}
TRANSFORMERS = {"dino_vits16": "ViT", "dinov2_vits14": "Dinov2", "dinov2_vits14_reg": "Dinov2WithRegisters"}


def value(key: str, shape: list[int]) -> torch.Tensor:
    """The recorded weights, made by rule from the key's name."""
    if key == "mask_token":
        return torch.zeros(shape)
    noise = torch.from_numpy(np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32))
    if key.endswith("weight") and "norm" in key:
        return 1 + 0.1 * noise
    return 0.3 + 0.3 * noise if "gamma" in key else 0.05 * noise


def state_of(name: str) -> dict[str, torch.Tensor]:
    return {key: value(key, shape) for key, shape in KEYS[name].items()}


def picture(size: str) -> torch.Tensor:
    height, width = map(int, size.split("x"))
    return torch.from_numpy(np.random.RandomState(0).rand(1, 3, height, width).astype(np.float32))


def agree(case: str, found: Features, tolerance: float = 1e-4) -> None:
    part = {name: RECORDED[f"{case}/{name}"] for name in ("cls", "patches", "patch_index", "grid")}
    assert found.grid.shape[-2:] == tuple(part["grid"])
    patches = found.grid.flatten(2)[0].T[torch.from_numpy(part["patch_index"])]
    torch.testing.assert_close(found.pooled[0], torch.from_numpy(part["cls"]), rtol=0, atol=tolerance)
    torch.testing.assert_close(patches, torch.from_numpy(part["patches"]), rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    folder = tmp_path_factory.mktemp("published")
    made: dict[str, Encoder] = {}
    for name in KEYS:
        torch.save(state_of(name), folder / f"{name}.pth")
        made[name] = brittle.load_encoder(f"file:{folder / name}.pth")
    return made


@pytest.mark.parametrize("case", CASES)
def test_file_agrees_with_the_authors(case, encoders) -> None:
    name, size = case.split("@")
    assert encoders[name].about["arch"] == name
    with torch.no_grad():
        agree(case, encoders[name](picture(size)))


@pytest.mark.parametrize("case", CASES)
def test_timm_agrees_at_the_native_size(case) -> None:
    from timm.models.vision_transformer import checkpoint_filter_fn

    name, size = case.split("@")
    encoder = copy.deepcopy(brittle.load_encoder(f"timm:{TIMM[name]}(pretrained=false)"))
    assert isinstance(encoder, TimmEncoder)
    encoder.network.load_state_dict(checkpoint_filter_fn(state_of(name), encoder.network))
    assert encoder.size == int(size.split("x")[0])
    with torch.no_grad():
        agree(case, encoder(picture(size)))


def converted(name: str, state: dict[str, torch.Tensor], wanted: set[str]) -> dict[str, torch.Tensor]:
    """The authors' tensors under transformers' names."""
    made: dict[str, torch.Tensor] = {}
    for key, tensor in state.items():
        if "attn.qkv" in key:
            parts = {key.replace("attn.qkv", f"attn.{part}"): piece for part, piece in zip("qkv", tensor.chunk(3))}
        else:
            parts = {key: tensor}
        made |= parts
    number = r"^blocks\.(\d+)\."
    stem = "encoder.layer." if any(key.startswith("encoder.layer.") for key in wanted) else "layers."
    old = {"attn.q.": "attention.attention.query.", "attn.k.": "attention.attention.key.", "attn.v.": "attention.attention.value."}
    new = {"attn.q.": "attention.q_proj.", "attn.k.": "attention.k_proj.", "attn.v.": "attention.v_proj."}
    rules = {**(old if any("attention.attention.query" in key for key in wanted) else new)}
    rules |= {"attn.proj.": "attention.output.dense." if any("attention.output.dense" in key for key in wanted) else "attention.o_proj."}
    rules |= {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}
    if TRANSFORMERS[name] == "ViT":
        rules |= {"norm1.": "layernorm_before.", "norm2.": "layernorm_after."}
        rules |= {"mlp.fc1.": "intermediate.dense.", "mlp.fc2.": "output.dense."} if any("intermediate" in key for key in wanted) else {}
    whole = {"cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings", "mask_token": "embeddings.mask_token"}
    whole |= {"register_tokens": "embeddings.register_tokens", "norm.weight": "layernorm.weight", "norm.bias": "layernorm.bias"}
    whole |= {f"patch_embed.proj.{end}": f"embeddings.patch_embeddings.projection.{end}" for end in ("weight", "bias")}
    renamed: dict[str, torch.Tensor] = {}
    for key, tensor in made.items():
        text = whole.get(key) or re.sub(number, rf"{stem}\1.", key)
        for ours, theirs in rules.items() if key not in whole else ():
            text = text.replace(ours, theirs)
        renamed[text] = tensor
    return renamed


@pytest.mark.parametrize("case", CASES)
def test_transformers_agrees_at_the_native_size(case, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    name, size = case.split("@")
    kind = TRANSFORMERS[name]
    facts = {"hidden_size": 384, "num_attention_heads": 6, "image_size": int(size.split("x")[0])}
    facts |= {"patch_size": 16, "intermediate_size": 1536, "layer_norm_eps": 1e-6} if kind == "ViT" else {"patch_size": 14}
    options = {"add_pooling_layer": False} if kind == "ViT" else {}
    network = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**facts), **options)
    wanted = set(network.state_dict())
    network.load_state_dict(converted(name, state_of(name), wanted))
    network.save_pretrained(tmp_path)
    with torch.no_grad():
        agree(case, brittle.load_encoder(f"hf:{tmp_path}")(picture(size)))
