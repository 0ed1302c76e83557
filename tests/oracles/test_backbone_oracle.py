"""Features of DINO and DINOv2, loaded through ``file:``, against those of their authors' own code on the same weights
and images."""

import copy
import re

import pytest
import torch

import brittle
from brittle import verify
from brittle.encoders.parts.timm_network import TimmEncoder
from brittle.types import Encoder

CASES = verify.cases()
TIMM = {
    "dino_vits16": "vit_small_patch16_224.dino",
    "dinov2_vits14": "vit_small_patch14_dinov2",
    "dinov2_vits14_reg": "vit_small_patch14_reg4_dinov2",
}
TRANSFORMERS = {"dino_vits16": "ViT", "dinov2_vits14": "Dinov2", "dinov2_vits14_reg": "Dinov2WithRegisters"}


def agree(case: str, encoder: Encoder) -> None:
    with torch.no_grad():
        assert verify.feature_gap(case, encoder(verify.image(case))) <= 1e-4


def test_file_agrees_with_the_authors() -> None:
    lines = list(verify.features())
    assert [line.name.split()[1] for line in lines] == CASES
    assert [line for line in lines if not line.ok] == []


@pytest.mark.parametrize("name", TIMM)
def test_the_keys_say_which_architecture_it_is(name, tmp_path) -> None:
    torch.save(verify.state_of(name), tmp_path / "w.pth")
    assert brittle.load_encoder(f"file:{tmp_path / 'w.pth'}").about["arch"] == name


@pytest.mark.parametrize("case", CASES)
def test_timm_agrees_at_the_native_size(case) -> None:
    from timm.models.vision_transformer import checkpoint_filter_fn

    name, size = case.split("@")
    encoder = copy.deepcopy(brittle.load_encoder(f"timm:{TIMM[name]}(pretrained=false)"))
    assert isinstance(encoder, TimmEncoder)
    encoder.network.load_state_dict(checkpoint_filter_fn(verify.state_of(name), encoder.network))
    assert encoder.size == int(size.split("x")[0])
    agree(case, encoder)


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
    old = {
        "attn.q.": "attention.attention.query.",
        "attn.k.": "attention.attention.key.",
        "attn.v.": "attention.attention.value.",
    }
    new = {"attn.q.": "attention.q_proj.", "attn.k.": "attention.k_proj.", "attn.v.": "attention.v_proj."}
    rules = {**(old if any("attention.attention.query" in key for key in wanted) else new)}
    rules |= {
        "attn.proj.": "attention.output.dense."
        if any("attention.output.dense" in key for key in wanted)
        else "attention.o_proj."
    }
    rules |= {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}
    if TRANSFORMERS[name] == "ViT":
        rules |= {"norm1.": "layernorm_before.", "norm2.": "layernorm_after."}
        rules |= (
            {"mlp.fc1.": "intermediate.dense.", "mlp.fc2.": "output.dense."}
            if any("intermediate" in key for key in wanted)
            else {}
        )
    whole = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "mask_token": "embeddings.mask_token",
    }
    whole |= {
        "register_tokens": "embeddings.register_tokens",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
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
    facts |= (
        {"patch_size": 16, "intermediate_size": 1536, "layer_norm_eps": 1e-6} if kind == "ViT" else {"patch_size": 14}
    )
    options = {"add_pooling_layer": False} if kind == "ViT" else {}
    network = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**facts), **options)
    wanted = set(network.state_dict())
    network.load_state_dict(converted(name, verify.state_of(name), wanted))
    network.save_pretrained(tmp_path)
    agree(case, brittle.load_encoder(f"hf:{tmp_path}"))
