"""Intermediate features and attention of encoders: against what the network itself, or its library, says of them."""

import copy
import json

import pytest
import torch

import brittle
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.evaluation import provenance
from brittle.types import Look, Model

VIT = "timm:test_vit(pretrained=false)"


def pixels(size: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("text", "norm"), [(VIT, "norm"), ("timm:vit_medium_patch16_reg4_gap_256(pretrained=false, size=64)", "fc_norm")]
)
def test_the_last_layer_lacks_only_the_final_norm(text, norm) -> None:
    encoder = brittle.load_encoder(text)
    images = pixels(encoder.size)
    with torch.no_grad():
        final, last = encoder(images), encoder.at_layer(images, -1)
        normed = getattr(encoder.network, norm)(last.grid.movedim(1, -1)).movedim(-1, 1)
        assert not torch.allclose(last.grid, final.grid, atol=1e-3)
    torch.testing.assert_close(normed, final.grid)


@pytest.mark.parametrize("text", ["timm:test_resnet(pretrained=false)", "timm:test_convnext(pretrained=false)"])
def test_the_last_stage_of_a_cnn_is_its_grid(text) -> None:
    encoder = brittle.load_encoder(text)
    images = pixels(160)
    with torch.no_grad():
        final, last, first = encoder(images), encoder.at_layer(images, -1), encoder.at_layer(images, 0)
    if "resnet" in text:  # ConvNeXt's feature maps are normed at the end
        assert torch.equal(last.grid, final.grid)
    assert last.grid.shape == final.grid.shape
    assert first.grid.shape[-1] > last.grid.shape[-1]


def test_a_layer_is_what_the_block_returns_and_counts_from_the_end_too() -> None:
    encoder = brittle.load_encoder(VIT)
    images, network = pixels(160), encoder.network
    with torch.no_grad():
        tokens = network._pos_embed(network.patch_embed(encoder.normalise(images)))
        for block in network.blocks[:3]:
            tokens = block(tokens)
        found = encoder.at_layer(images, 2)
        again = encoder.at_layer(images, 2 - len(network.blocks))
    torch.testing.assert_close(found.pooled, tokens[:, 0])
    torch.testing.assert_close(found.grid.flatten(2).transpose(1, 2), tokens[:, 1:])
    assert torch.equal(found.grid, again.grid)


def test_an_encoder_that_ends_at_a_layer_has_those_up_to_it() -> None:
    early, whole = brittle.load_encoder("timm:test_vit(pretrained=false, layer=2)"), brittle.load_encoder(VIT)
    images = pixels(160)
    with torch.no_grad():
        assert torch.equal(early.at_layer(images, -1).grid, whole.at_layer(images, 2).grid)
    with pytest.raises(UsageError, match="has layers -3 to 2, got layer=3"):
        early.at_layer(images, 3)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("index", [0, 3, -1])
def test_attention_is_softmax_of_q_and_k(fused, index) -> None:
    encoder = copy.deepcopy(brittle.load_encoder(VIT))
    for block in encoder.network.blocks:
        block.attn.fused_attn = fused
    images = pixels(160)
    block = encoder.network.blocks[index]
    with torch.no_grad():
        before = encoder.network.blocks[: len(encoder.network.blocks) + index if index < 0 else index]
        tokens = encoder.network._pos_embed(encoder.network.patch_embed(encoder.normalise(images)))
        for one in before:
            tokens = one(tokens)
        wide = block.norm1(tokens) @ block.attn.qkv.weight.T + block.attn.qkv.bias
        q, k, _ = wide.unflatten(2, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        expected = torch.exp(torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5)
        expected = expected / expected.sum(-1, keepdim=True)
        found = encoder.attention_at(images, index)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:3]))


def test_a_level_that_timm_misnames_has_features_but_no_attention() -> None:
    encoder = brittle.load_encoder("timm:mvitv2_tiny(pretrained=false, size=64)")
    with torch.no_grad():
        assert encoder.at_layer(pixels(64, 1), 0).grid.shape == (1, 96, 16, 16)
    with pytest.raises(UsageError, match="has no attention to speak of"):
        encoder.attention_at(pixels(64, 1), 0)


def test_reading_attention_leaves_the_network_as_it_was() -> None:
    encoder = brittle.load_encoder(VIT)
    images = pixels(160)
    with torch.no_grad():
        before = encoder(images)
        encoder.attention_at(images, 1)
        after = encoder(images)
    assert torch.equal(before.pooled, after.pooled)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())


@pytest.mark.parametrize("name", ["test_resnet", "swin_tiny_patch4_window7_224", "xcit_nano_12_p16_224"])
def test_convolutions_windows_and_channels_are_no_attention_between_all_tokens(name) -> None:
    encoder = brittle.load_encoder(f"timm:{name}(pretrained=false)")
    with pytest.raises(UsageError, match="has no attention to speak of"):
        encoder.attention_at(pixels(encoder.size, 1), 1)


@pytest.mark.parametrize("index", [-7, 6])
def test_no_such_layer(index) -> None:
    encoder = brittle.load_encoder(VIT)
    for ask in (encoder.at_layer, encoder.attention_at):
        with pytest.raises(UsageError, match=f"has layers -6 to 5, got layer={index}"):
            ask(pixels(160), index)


def test_pixels_have_no_layers() -> None:
    encoder = brittle.load_encoder("pixels(size=16)")
    for ask in (encoder.at_layer, encoder.attention_at):
        with pytest.raises(UsageError, match=r"pixels has no (layers|attention) to speak of"):
            ask(pixels(16), 0)


@pytest.mark.parametrize("kind", ["Dinov2", "CLIPVision"])
def test_transformers_says_the_same(kind, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    facts = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(**facts, initializer_range=0.3)
        network = getattr(transformers, f"{kind}Model")(config).eval()
    network.save_pretrained(tmp_path)
    encoder = brittle.load_encoder(f"hf:{tmp_path}(size=32)")
    images = pixels(32)
    network.set_attn_implementation("eager")
    with torch.no_grad():
        options = {**encoder.options, "output_hidden_states": True, "output_attentions": True}
        theirs = network(pixel_values=encoder.normalise(images), **options)
        for index in (0, 1, -1):
            found = encoder.at_layer(images, index)
            torch.testing.assert_close(found.pooled, theirs.hidden_states[1:][index][:, 0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(
                found.grid.flatten(2).transpose(1, 2), theirs.hidden_states[1:][index][:, 1:], rtol=1e-4, atol=1e-4
            )
            torch.testing.assert_close(
                encoder.attention_at(images, index), theirs.attentions[index], rtol=1e-4, atol=1e-6
            )


def test_open_clips_tower(tmp_path) -> None:
    library = pytest.importorskip("open_clip")
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    (tmp_path / "layers-clip.json").write_text(
        json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}), encoding="utf8"
    )
    library.add_model_config(tmp_path / "layers-clip.json")
    encoder = brittle.load_encoder("open_clip:layers-clip(pretrained=false, size=32)")
    images = pixels(32)
    with torch.no_grad():
        last = encoder.at_layer(images, -1)
        final = encoder(images)
        first = encoder.at_layer(images, 0)
        block = encoder.tower.transformer.resblocks[1]
        tokens = torch.cat([first.pooled[:, None], first.grid.flatten(2).transpose(1, 2)], 1)
        wide = block.ln_1(tokens) @ block.attn.in_proj_weight.T + block.attn.in_proj_bias
        q, k, _ = wide.unflatten(2, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        expected = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
        torch.testing.assert_close(encoder.tower.ln_post(last.pooled), final.pooled)
        torch.testing.assert_close(encoder.attention_at(images, 1), expected)


def test_in_bfloat16_it_is_float32_of_nearly_the_same() -> None:
    model = Model(components.build("tasks", "classification"), None, brittle.load_encoder(VIT))
    images = pixels(160)
    with torch.no_grad():
        exact = (*model.encode(images, Look((2,), norm=False)), model.attend(images, 2))
        model.bf16 = True
        rough = (*model.encode(images, Look((2,), norm=False)), model.attend(images, 2))
    for one, other in zip(exact, rough):
        assert other.dtype == torch.float32
        assert not torch.equal(one, other)
        torch.testing.assert_close(other, one, rtol=0.1, atol=0.05 * one.abs().max().item())


def test_passes_are_counted_as_those_of_any_attack() -> None:
    encoder = brittle.load_encoder(VIT)
    with provenance.counted(encoder) as count:
        encoder.at_layer(pixels(160).requires_grad_(), 1).grid.sum().backward()
        encoder.attention_at(pixels(160).requires_grad_(), 1).square().sum().backward()
    assert count == {"forwards": 4, "backwards": 4}


@pytest.mark.parametrize("text", [VIT, "timm:vit_medium_patch16_reg4_gap_256(pretrained=false, size=64)"])
def test_several_layers_are_looked_at_side_by_side_in_one_pass(text) -> None:
    encoder = brittle.load_encoder(text)
    images = pixels(encoder.size)
    with torch.no_grad(), provenance.counted(encoder) as passes:
        both = encoder.look(images, Look((-1, 1, -1), norm=False))
        assert passes["forwards"] == len(images)
        parts = [encoder.at_layer(images, index) for index in (-1, 1, -1)]
    assert Look((-1, 1, -1)).width(encoder.dim) == both.pooled.shape[1] == 3 * encoder.dim
    torch.testing.assert_close(both.grid, torch.cat([part.grid for part in parts], 1))
    torch.testing.assert_close(both.pooled, torch.cat([part.pooled for part in parts], 1))


@pytest.mark.parametrize("text", [VIT, "timm:vit_medium_patch16_reg4_gap_256(pretrained=false, size=64)"])
def test_the_last_layer_after_the_norm_is_the_output(text) -> None:
    encoder = brittle.load_encoder(text)
    images = pixels(encoder.size)
    with torch.no_grad():
        normed, final = encoder.look(images, Look((-1,))), encoder(images)
    torch.testing.assert_close(normed.grid, final.grid)
    torch.testing.assert_close(normed.pooled, final.pooled)


def test_layers_of_other_grids_and_a_norm_that_is_not_there_are_refused() -> None:
    encoder = brittle.load_encoder("timm:test_resnet(pretrained=false)")
    with pytest.raises(UsageError, match=r"layers \[0, -1\] of .* have grids of .*x.*; choose layers of one"):
        encoder.look(pixels(160), Look((0, -1), norm=False))
    with pytest.raises(UsageError, match="no final norm"):
        encoder.look(pixels(160), Look((-1,)))
