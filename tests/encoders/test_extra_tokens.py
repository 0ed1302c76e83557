"""Extra tokens of a transformer: it is timm's own network with as many registers, whose features leave them out."""

from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.encoders.parts.architectures import PublishedViT
from brittle.encoders.parts.extra_tokens import extended
from brittle.encoders.parts.timm_network import TimmEncoder
from brittle.types import Encoder, Features

SHAPE: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 0}
KINDS: dict[str, dict[str, Any]] = {
    "cls": {},
    "registers": {"reg_tokens": 2, "no_embed_class": True},
    "mean": {"class_token": False, "global_pool": "avg"},
    "norm before": {"pre_norm": True},
}


def wrapped(network: nn.Module, **how: Any) -> TimmEncoder:
    facts = {"size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3, "about": {"source": "tiny", "parameters": 7}}
    return TimmEncoder(network, 8, **facts, **how).eval()


def network(**options: Any) -> VisionTransformer:
    made = VisionTransformer(dynamic_img_size=True, **{**SHAPE, **options})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(std=0.3, generator=generator)
    return made


def images(height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def pair(kind: str) -> tuple[Encoder, Encoder]:
    """An encoder with 3 extra tokens, and timm's network with these as its last registers."""
    tokens, options = torch.randn(3, 24, generator=torch.Generator().manual_seed(2)), KINDS[kind]
    plain, own = network(**options), int(options.get("reg_tokens", 0))
    other = network(**{**options, "reg_tokens": own + 3, "no_embed_class": True})
    state = plain.state_dict()
    if plain.cls_token is not None and not own:  # its position is added to it here, and has no place of its own there
        state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]
        state["pos_embed"] = state["pos_embed"][:, 1:]
    before = state.get("reg_token", torch.zeros(1, 0, 24))
    state["reg_token"] = torch.cat([before, tokens[None]], 1)
    other.load_state_dict(state)
    return extended(wrapped(plain), tokens).eval(), wrapped(other)


def close(one: Features, other: Features) -> None:
    for mine, wanted in zip(one, other, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(32, 32), (64, 40), (30, 17)])
def test_it_is_timms_network_with_registers(kind: str, size: tuple[int, int]) -> None:
    mine, wanted = pair(kind)
    seen = images(*size)
    close(mine(seen), wanted(seen))
    assert mine(seen).grid.shape == (2, 24, -(-size[0] // 8), -(-size[1] // 8))
    for norm in (False, True):
        layers = [each.at_layers(seen, [0, -1], norm=norm) for each in (mine, wanted)]
        for one, other in zip(*layers, strict=True):
            close(one, other)
    torch.testing.assert_close(mine.attention_at(seen, 1), wanted.attention_at(seen, 1), rtol=1e-4, atol=1e-6)


def test_the_tokens_are_seen_and_left_out() -> None:
    mine, _ = pair("cls")
    cells = mine(images()).grid[0, 0].numel()
    assert mine.attention_at(images(), 0).shape[-2:] == (1 + 3 + cells,) * 2
    before = mine(images())
    with torch.no_grad():
        mine.get_parameter("extra_tokens").zero_()
    assert (mine(images()).pooled - before.pooled).abs().max() > 1e-3
    assert (mine(images()).pooled - wrapped(network())(images()).pooled).abs().max() > 1e-3, "zeros are seen as well"


def test_an_earlier_layer_is_its_last() -> None:
    plain, tokens = network(), torch.randn(3, 24, generator=torch.Generator().manual_seed(2))
    cut, whole = extended(wrapped(plain, layer=1), tokens).eval(), extended(wrapped(plain), tokens).eval()
    close(cut(images()), whole.at_layers(images(), [1], norm=True)[0])
    assert cut.depth == 2


def test_of_a_published_checkpoint_they_are_registers() -> None:
    made = [PublishedViT((24, 2, 2), 8, 32, registers=registers, offset=0.1) for registers in (0, 3)]
    tokens = torch.randn(1, 3, 24, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for weight in made[0].parameters():
            weight.normal_(std=0.3, generator=torch.Generator().manual_seed(3))
    made[1].load_state_dict({**made[0].state_dict(), "reg_token": tokens})
    seen = images(48, 48)
    close(extended(wrapped(made[0]), tokens[0]).eval()(seen), wrapped(made[1])(seen))


def test_what_results_say_of_it() -> None:
    base = wrapped(network())
    mine = extended(base, torch.zeros(3, 24))
    assert (mine.about["parameters"], base.about["parameters"]) == (7 + 72, 7)
    assert mine.label == "tiny"


def test_what_takes_no_tokens_is_refused() -> None:
    tiny = wrapped(network())
    cases = (
        (components.build("encoders", "timm:test_resnet(pretrained=false)"), torch.zeros(3, 24), "plain vision transf"),
        (components.build("encoders", "pixels(size=8)"), torch.zeros(3, 3), "takes no extra tokens"),
        (wrapped(network(), pooled="native"), torch.zeros(3, 24), "leave pooled=native out"),
        (extended(tiny, torch.zeros(3, 24)), torch.zeros(3, 24), "has extra tokens already"),
        (tiny, torch.zeros(3, 8), r"tokens of width 24, got extra ones of \[3, 8\]"),
    )
    for encoder, tokens, why in cases:
        with pytest.raises(UsageError, match=why) as error:
            extended(encoder, tokens)
        assert "\n" not in str(error.value)
