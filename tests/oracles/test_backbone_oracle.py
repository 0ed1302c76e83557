"""Features of DINO and DINOv2, loaded through ``file:``, against those of their authors' own code on the same weights and pictures."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import brittle
from brittle.types import Encoder, Features

HERE = Path(__file__).parent
RECORDED = np.load(HERE / "backbones_a.npz")
KEYS = json.loads((HERE / "backbone_keys_a.json").read_text(encoding="utf8"))
CASES = sorted({name.split("/")[0] for name in RECORDED.files})
NATIVE = {"dino_vits16": "vit_small_patch16_224.dino", "dinov2_vits14": "vit_small_patch14_dinov2", "dinov2_vits14_reg": "vit_small_patch14_reg4_dinov2"}


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
