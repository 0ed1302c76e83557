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


def test_files_of_a_model_have_the_colours_of_its_tags(tmp_path) -> None:
    """SigLIP's are not CLIP's; and with QuickGELU the same weights are another encoder."""
    from brittle.encoders.open_clip import _origin

    (tmp_path / "a.pt").write_bytes(b"x")
    assert _origin(f"ViT-B-16-SigLIP/{tmp_path}/a.pt", True).mean == (0.5, 0.5, 0.5)
    assert _origin(f"ViT-B-32/{tmp_path}/a.pt", True).mean == pytest.approx([0.4815, 0.4578, 0.4082], abs=1e-3)
    assert _origin("ViT-B-32/openai", False).quick
    assert not _origin(f"ViT-B-32/{tmp_path}/a.pt", True).quick
    names = [f"open_clip:ViT-B-32{quick}/{tmp_path}/a.pt" for quick in ("", "-quickgelu")]
    assert identity.weights_of(names[0]) != identity.weights_of(names[1])


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """What hf-hub: gives for a configuration, with random weights in its place."""

    def ask(config: object, text: str = "open_clip:hf-hub:somebody/model(pretrained=false)"):
        from brittle.encoders.parts import hub as module

        (tmp_path / "open_clip_config.json").write_text(json.dumps(config), encoding="utf8")
        monkeypatch.setattr(module, "fetched", lambda *_: tmp_path / "open_clip_config.json")
        return brittle.load_encoder(text)

    return ask


def test_a_configuration_of_the_hub_builds_its_tower_alone(hub, monkeypatch) -> None:
    """A text tower may name a model of transformers, and with it code."""
    import transformers

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda *_, **__: pytest.fail("the hub was asked"))
    text = {"hf_model_name": "evil/model", "hf_tokenizer_name": "evil/model", "hf_model_pretrained": True}
    model = {"embed_dim": 16, "vision_cfg": VISION["brittle-vit"], "text_cfg": text, "custom_text": True}
    preprocess = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "size": 40}
    encoder = hub({"model_cfg": model, "preprocess_cfg": preprocess})
    assert encoder.size == 40
    torch.testing.assert_close(encoder.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    other = hub({"model_cfg": model | {"quick_gelu": True}, "preprocess_cfg": preprocess})
    assert other.about["sha256"] == encoder.about["sha256"]
    assert other.about["fingerprint"] != encoder.about["fingerprint"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "change",
    [{"layers": 10**7}, {"layers": [10**7, 1, 1, 1]}, {"width": 10**9}, {"width": "x"}, {"patch_size": 0},
     {"image_size": 10**9}, {"image_size": -1}, {"head_width": 0}, {"mlp_ratio": 1e300}, {"layers": None},
     {"timm_model_name": "hf_hub:evil/model"}, {"timm_model_name": "local-dir:/tmp"}, {"timm_model_name": 3},
     {"act_kwargs": {"x": 1}}, {"attn_pooler_queries": 10**9, "attentional_pool": True}],
)  # fmt: skip
def test_a_configuration_out_of_bounds_is_one_line(change, hub) -> None:
    model = {"embed_dim": 16, "vision_cfg": VISION["brittle-vit"] | change, "text_cfg": TEXT}
    with pytest.raises(UsageError) as caught:
        hub({"model_cfg": model})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [[], {}, {"model_cfg": 3}, {"model_cfg": {"vision_cfg": []}}, {"model_cfg": {"vision_cfg": VISION["brittle-vit"]}}],
)
def test_configurations_that_are_none(config, hub) -> None:
    with pytest.raises(UsageError) as caught:
        hub(config)
    assert "\n" not in str(caught.value)


def test_pooled_native_of_a_tower_of_its_own_is_refused() -> None:
    with pytest.raises(UsageError, match="leave pooled out"):
        brittle.load_encoder("open_clip:brittle-vit(pretrained=false, pooled=native)")


def test_refusals(monkeypatch) -> None:
    with pytest.raises(UsageError, match="did you mean 'ViT-B-32'"):
        brittle.load_encoder("open_clip:ViT-B32/laion2b_s34b_b79k")
    with pytest.raises(MissingError, match="no file and no tag of ViT-B-32 called 'laion'"):
        brittle.load_encoder("open_clip:ViT-B-32/laion")
    import sys

    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(
        MissingError, match=r"needs the package 'open_clip_torch'; .* pip install -c constraints.txt '\.\[clip\]'$"
    ):
        brittle.load_encoder("open_clip:ViT-B-32/openai")
