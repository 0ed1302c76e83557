"""Cards beside weights that may be anybody's: they run nothing, fetch nothing, and lead nowhere in circles."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

import brittle
from brittle.core.errors import UsageError
from brittle.planning import identity


def tuned(folder: Path, base: str, like: str = "embedded:random", name: str = "encoder", seed: int = 0) -> str:
    """The path of weights that fit ``like``, with a card that names ``base``."""
    state = brittle.load_encoder(like).state_dict()
    generator = torch.Generator().manual_seed(seed)
    data = save({key: 0.1 * torch.randn(value.shape, generator=generator) for key, value in state.items()})
    path = folder / f"{name}.safetensors"
    path.write_bytes(data)
    card = {"base": base, "sha256": hashlib.sha256(data).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(card), encoding="utf8")
    return str(path)


@pytest.fixture
def evil(tmp_path: Path) -> tuple[str, Path]:
    """The spec of a function in a file that leaves a canary when it is run, and the canary."""
    canary = tmp_path / "canary"
    text = (
        f"open({str(canary)!r}, 'w').close()\nfrom torch import nn\ndef f():\n    return nn.Conv2d(3, 4, 8, stride=8)\n"
    )
    (tmp_path / "evil.py").write_text(text, encoding="utf8")
    return f"py:{tmp_path}/evil.py:f", canary


def refusal(text: str) -> str:
    for ask in (brittle.load_encoder, lambda text: brittle.load_encoder(f"file:{text}")):
        with pytest.raises(UsageError) as caught:
            ask(text if ask is not brittle.load_encoder else f"file:{text}")
        assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_card_runs_no_file(evil, tmp_path) -> None:
    spec, canary = evil
    inner = tuned(tmp_path, spec, name="inner")
    for base in (spec, f"{spec}(size=32)", f"file:{inner}", f"file:{inner}(base='{spec}')", f"py:{tmp_path}/evil.py:f"):
        text = tuned(tmp_path, base)
        identity.weights_of(f"file:{text}")
        message = refusal(text)
        assert "which a card may not ask for" in message
        assert not canary.exists()


def test_what_the_user_types_is_run(evil, tmp_path) -> None:
    spec, canary = evil
    like = f"{spec}(size=32)"
    text = tuned(tmp_path, like, like=like)
    canary.unlink()
    encoder = brittle.load_encoder(f"file:{text}(base={like})")
    assert encoder.dim == 4
    assert encoder.about["fingerprint"] == identity.weights_of(f"file:{text}(base={like})")
    torch.testing.assert_close(encoder(torch.rand(1, 3, 32, 32)).grid.shape, (1, 4, 4, 4))


def test_a_card_fetches_nothing(tmp_path, monkeypatch) -> None:
    import huggingface_hub
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(huggingface_hub, name, lambda *_, **__: pytest.fail("the hub was asked"))
    for base in ("hf:nobody/nothing", "open_clip:hf-hub:nobody/nothing"):
        assert "would be fetched from the hub" in refusal(tuned(tmp_path, base))


def test_weights_of_a_base_are_not_fetched(tmp_path) -> None:
    """The file has them; and the plain encoder of the base stays what it was."""
    plain = "timm:test_vit(pretrained=false)"
    images = torch.rand(1, 3, 160, 160)
    before = brittle.load_encoder(plain)(images).pooled
    encoder = brittle.load_encoder(f"file:{tuned(tmp_path, 'timm:test_vit', like=plain)}")
    assert not torch.equal(encoder(images).pooled, before)
    assert torch.equal(brittle.load_encoder(plain)(images).pooled, before)


def test_cards_in_a_circle(tmp_path) -> None:
    assert "leads back to itself" in refusal(tuned(tmp_path, f"file:{tmp_path}/encoder.safetensors"))
    tuned(tmp_path, f"file:{tmp_path}/encoder.safetensors", name="other")
    assert "leads back to itself" in refusal(tuned(tmp_path, f"file:{tmp_path}/other.safetensors"))


def test_the_base_is_part_of_the_fingerprint(tmp_path) -> None:
    """The same weights under another base are another encoder."""
    found = set()
    for base in ("embedded:random", "embedded:random(seed=1)", "timm:test_vit(pretrained=false)"):
        found.add(identity.weights_of(f"file:{tuned(tmp_path, base)}"))
    assert len(found) == 3


@pytest.mark.parametrize("base", ["no such(", "", "embedded:absent", "timm", "x" * 9999, "file:/absent.pth"])
def test_nonsense_in_a_card_is_one_line(base, tmp_path) -> None:
    with pytest.raises(brittle.core.errors.BrittleError) as caught:
        brittle.load_encoder(f"file:{tuned(tmp_path, base)}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900


@pytest.mark.parametrize("card", ["[]", "{", '{"base": 1}', "[" * 100000, "null", '{"base": {"a": 1}, "sha256": []}'])
def test_cards_that_are_none(card, tmp_path) -> None:
    path = Path(tuned(tmp_path, "embedded:random"))
    path.with_suffix(".json").write_text(card, encoding="utf8")
    refusal(str(path))
