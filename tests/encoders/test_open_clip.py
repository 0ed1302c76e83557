"""open_clip's visual towers, tiny and random, from a checkpoint of the whole model or of the tower alone."""

import json

import pytest
import torch

import brittle
from brittle.core.errors import MissingError, UsageError
from brittle.planning import identity

library = pytest.importorskip("open_clip")

TEXT = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
VISION = {
    "brittle-vit": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32},
    "brittle-resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "brittle-trunk": {
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 160,
    },
}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("configs")
    for name, vision in VISION.items():
        (folder / f"{name}.json").write_text(
            json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT}), encoding="utf8"
        )
        library.add_model_config(folder / f"{name}.json")


def whole(name: str = "brittle-vit", seed: int = 0):
    torch.manual_seed(seed)
    return library.create_model(name, load_weights=False).eval()


def test_pooled_and_grid_of_a_tower(tmp_path) -> None:
    model = whole()
    torch.save(model.state_dict(), tmp_path / "clip.pt")
    encoder = brittle.load_encoder(f"open_clip:brittle-vit/{tmp_path}/clip.pt")
    images = torch.rand(2, 3, 32, 32)
    seen = encoder.normalise(images)
    with torch.no_grad():
        found = encoder(images)
        torch.testing.assert_close(found.pooled @ model.visual.proj, model.encode_image(seen))
        tokens = model.visual.forward_intermediates(
            seen, indices=1, normalize_intermediates=True, intermediates_only=True
        )
    torch.testing.assert_close(found.grid, tokens["image_intermediates"][0])
    assert encoder.mean.flatten().tolist() == pytest.approx([0.4815, 0.4578, 0.4082], abs=1e-3)
    assert encoder.about["sha256"] == brittle.core.files.sha256_of_file(tmp_path / "clip.pt")


def test_the_tower_alone_and_what_does_not_fit(tmp_path) -> None:
    model = whole()
    text = f"open_clip:brittle-vit/{tmp_path}/tower.pt"
    torch.save(model.visual.state_dict(), tmp_path / "tower.pt")
    assert torch.equal(brittle.load_encoder(text).tower.ln_post.weight, model.visual.ln_post.weight)
    state = model.visual.state_dict()
    del state["ln_post.weight"]
    torch.save({**state, "adapter": torch.zeros(1)}, tmp_path / "tower.pt")
    with pytest.raises(UsageError, match=r"1 missing: ln_post.weight; 1 unexpected: adapter"):
        brittle.load_encoder(text)


@pytest.mark.parametrize("name", VISION)
def test_other_sizes_and_gradients(name) -> None:
    text = f"open_clip:{name}(pretrained=false)"
    encoder = brittle.load_encoder(text)
    images = torch.rand(1, 3, 37, 50, requires_grad=True)
    found = encoder(images)
    assert found.pooled.shape == (1, encoder.dim)
    assert found.grid.shape == (1, encoder.dim, -(-37 // encoder.patch), -(-50 // encoder.patch))
    (gradient,) = torch.autograd.grad((found.grid * torch.randn(found.grid.shape)).sum(), images)
    assert gradient.abs().sum() > 0
    assert identity.weights_of(text) == encoder.about["fingerprint"]


def test_refusals(monkeypatch) -> None:
    with pytest.raises(UsageError, match="did you mean 'ViT-B-32'"):
        brittle.load_encoder("open_clip:ViT-B32/laion2b_s34b_b79k")
    with pytest.raises(MissingError, match="no file and no tag of ViT-B-32 called 'laion'"):
        brittle.load_encoder("open_clip:ViT-B-32/laion")
    import sys

    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingError, match=r"pip install 'brittle\[clip\]'"):
        brittle.load_encoder("open_clip:ViT-B-32/openai")
