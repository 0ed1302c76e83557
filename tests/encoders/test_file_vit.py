"""Published ViT checkpoints: each family in its authors' layout, with whatever they leave beside the encoder."""

import argparse
from typing import Any

import pytest
import torch
from made import prefixed, saved, vit
from safetensors.torch import save_file

import brittle
from brittle.planning import identity

TINY = {"width": 192, "patch": 16, "side": 14}


def head(prefix: str = "head.") -> dict[str, torch.Tensor]:
    return {f"{prefix}mlp.0.weight": torch.zeros(2, 192), f"{prefix}last_layer.weight_v": torch.zeros(2, 2)}


def full_dino() -> dict[str, Any]:
    """Both networks of a training run: the student in DistributedDataParallel, and the run's settings as a
    Namespace."""
    student, teacher = vit(**TINY, seed=1), vit(**TINY)
    return {
        "student": {**prefixed("module.backbone.", student), **head("module.head.")},
        "teacher": {**prefixed("backbone.", teacher), **head()},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_tiny", lr=5e-4),
        "dino_loss": {"center": torch.zeros(1, 3)},
    }


LAYOUTS = {
    "dino": lambda: vit(**TINY),
    "dino full": full_dino,
    "deacl": lambda: {"epoch": 99, "state_dict": {**prefixed("backbone.", vit(**TINY)), **head("projector.")}},
    "deacl of the original": lambda: {"state_dict": prefixed("backbone.encoder.", vit(**TINY)), "hyper_parameters": {}},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return brittle.load_encoder(saved(tmp_path_factory.mktemp("plain"), "dino.pth", vit(**TINY)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_one_vit_gives_the_same_features(layout, plain, tmp_path) -> None:
    text = saved(tmp_path, "checkpoint.pth", LAYOUTS[layout]())
    encoder = brittle.load_encoder(text)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        found, wanted = encoder(images), plain(images)
    assert torch.equal(found.pooled, wanted.pooled)
    assert torch.equal(found.grid, wanted.grid)
    assert encoder.about["arch"] == "dino_vitt16"
    assert encoder.about["parameters"] == sum(value.numel() for value in vit(**TINY).values())
    assert identity.weights_of(text) == encoder.about["fingerprint"]


def test_safetensors_as_well(plain, tmp_path) -> None:
    save_file(vit(**TINY), tmp_path / "dino.safetensors")
    with torch.no_grad():
        images = torch.rand(1, 3, 32, 32)
        assert torch.equal(
            brittle.load_encoder(f"file:{tmp_path}/dino.safetensors")(images).pooled, plain(images).pooled
        )


def test_half_precision_weights_become_float32(tmp_path) -> None:
    text = saved(tmp_path, "half.pth", {key: value.half() for key, value in vit(**TINY).items()})
    assert brittle.load_encoder(text)(torch.rand(1, 3, 32, 32)).pooled.dtype == torch.float32


def test_part_chooses_the_student(tmp_path) -> None:
    text = saved(tmp_path, "full.pth", full_dino())
    images = torch.rand(1, 3, 32, 32)
    teacher, student = brittle.load_encoder(text), brittle.load_encoder(f"{text}(part=student)")
    assert not torch.equal(teacher(images).pooled, student(images).pooled)
    assert identity.weights_of(text) != identity.weights_of(f"{text}(part=student)")


@pytest.mark.parametrize(
    ("wrap", "width", "arch"),
    [
        (
            lambda state: {
                "model": {**state, "mask_token": torch.zeros(1, 1, 512), "decoder_embed.weight": torch.zeros(2)}
            },
            768,
            "mae_vitb16",
        ),
        (
            lambda state: {
                "epoch": 300,
                "arch": "vit_small",
                "state_dict": {
                    **prefixed("module.base_encoder.", {**state, "head.0.weight": torch.zeros(2)}),
                    **prefixed("module.momentum_encoder.", vit(384, 16, 14, seed=1)),
                    "module.predictor.0.weight": torch.zeros(2),
                },
            },
            384,
            "mocov3_vits16",
        ),
    ],
    ids=["mae", "mocov3"],
)
def test_mae_and_moco(wrap, width, arch, tmp_path) -> None:
    state = vit(width, 16, 14)
    encoder = brittle.load_encoder(saved(tmp_path, "checkpoint.pth.tar", wrap(state)))
    assert encoder.about["arch"] == arch
    assert "CC-BY-NC" in encoder.about["licence"]
    assert torch.equal(encoder.network.blocks[3].attn.qkv.weight, state["blocks.3.attn.qkv.weight"])
    heads = encoder.network.blocks[0].attn.num_heads
    assert heads == 12, "MoCo v3's small ViT has 12 heads, unlike everybody else's"


def test_dinov2_from_a_training_run(tmp_path) -> None:
    """Blocks in chunks, and the teacher's backbone beside its heads."""
    state = vit(384, 14, 37)
    for block in range(12):
        state[f"blocks.{block}.ls1.gamma"] = state[f"blocks.{block}.ls2.gamma"] = torch.rand(384)
    chunked = {
        key.replace("blocks.", f"blocks.{int(key.split('.')[1]) // 3}.") if key.startswith("blocks") else key: v
        for key, v in state.items()
    }
    teacher = {
        **prefixed("backbone.", {**chunked, "mask_token": torch.zeros(1, 384)}),
        "dino_head.mlp.0.weight": torch.zeros(2),
    }
    one = brittle.load_encoder(saved(tmp_path, "teacher_checkpoint.pth", {"teacher": teacher}))
    two = brittle.load_encoder(saved(tmp_path, "plain.pth", state))
    assert one.about["arch"] == two.about["arch"] == "dinov2_vits14"
    images = torch.rand(1, 3, 56, 42)
    with torch.no_grad():
        assert torch.equal(one(images).grid, two(images).grid)


def test_registers_and_gated_mlps_are_told_by_their_keys() -> None:
    from brittle.encoders.parts.architectures import ARCHITECTURES, guess, renamed
    from brittle.encoders.parts.checkpoints import Candidate

    with torch.device("meta"):
        network = ARCHITECTURES["dinov2_vitg14_reg"].make()
    names = {"reg_token": "register_tokens", "mlp.fc1": "mlp.w12", "mlp.fc2": "mlp.w3"}
    published = dict(network.state_dict())
    for ours, theirs in names.items():
        published = {key.replace(ours, theirs): value for key, value in published.items()}
    assert published["blocks.0.mlp.w12.weight"].shape == (8192, 1536)
    assert published["blocks.0.mlp.w3.weight"].shape == (1536, 4096)
    assert published["pos_embed"].shape == (1, 1370, 1536)
    state = renamed(published)
    assert state.keys() == network.state_dict().keys()
    assert guess(Candidate(":", state, (), ()), state) == ["dinov2_vitg14_reg"]


def test_positions_at_the_native_size_are_the_published_ones(plain) -> None:
    from brittle.encoders.parts.wrappers import resampled

    positions = plain.network.pos_embed[:, 1:]
    assert resampled(positions, 14, 14, offset=0.1, antialias=False) is positions


@pytest.mark.parametrize(("rows", "columns"), [(7, 7), (14, 20), (28, 28), (1, 3), (37, 5)])
def test_positions_are_interpolated_with_the_authors_scale(rows, columns) -> None:
    """By hand: row i of the result is cubic (a = -0.75) around (i + 0.5) / scale - 0.5, with scale = (rows + 0.1) /
    side."""
    from brittle.encoders.parts.wrappers import resampled

    side, a = 14, -0.75
    values = torch.rand(side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def weight(t: float) -> float:
        t = abs(t)
        return (
            (a + 2) * t**3 - (a + 3) * t**2 + 1
            if t <= 1
            else a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
            if t < 2
            else 0.0
        )

    wanted = []
    for row in range(rows):
        where = (row + 0.5) * side / (rows + 0.1) - 0.5
        near = [int(where // 1) + step for step in (-1, 0, 1, 2)]
        wanted.append(sum(weight(where - place) * float(values[min(max(place, 0), side - 1)]) for place in near))
    positions = values.float()[:, None].expand(side, side).reshape(1, side * side, 1)
    made = resampled(positions, rows, columns, offset=0.1, antialias=False).reshape(rows, columns)
    torch.testing.assert_close(made, torch.tensor(wanted).float()[:, None].expand(rows, columns), rtol=0, atol=1e-5)


def test_interpolation_can_be_timms(plain, tmp_path) -> None:
    text = saved(tmp_path, "dino.pth", vit(**TINY))
    images, native = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        other = brittle.load_encoder(f"{text}(interpolation=timm)")
        assert not torch.equal(other(images).pooled, plain(images).pooled)
        assert torch.equal(other(native).pooled, plain(native).pooled)
    assert identity.weights_of(text) != identity.weights_of(f"{text}(interpolation=timm)")


def test_odd_sizes_are_padded_inside(plain) -> None:
    with torch.no_grad():
        found = plain(torch.rand(2, 3, 37, 50))
        padded = plain(torch.nn.functional.pad(torch.rand(1, 3, 48, 64), (0, 0)))
    assert found.grid.shape == (2, 192, 3, 4)
    assert padded.grid.shape == (1, 192, 3, 4)
