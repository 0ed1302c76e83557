"""Specs of encoders without a name, or with odd values of an option: one line and the right exit code."""

import itertools

import pytest

import brittle
from brittle.core import components
from brittle.core.errors import BrittleError
from brittle.planning import identity

VALUES = (
    "-1",
    "99999999999999999999",
    "1e30",
    "nan",
    "inf",
    "abc",
    "''",
    "[1, 2]",
    "[]",
    "true",
    "0.5",
    "'a b'",
    "x(y=1)",
)
SPECS = {
    "timm": "timm:test_vit",
    "hf": "hf:no/such",
    "open_clip": "open_clip:no-such",
    "embedded": "embedded:random",
    "file": "file:absent.pth",
    "py": "py:absent.py:f",
    "pixels": "pixels",
}


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def one_line(text: str) -> None:
    for ask in (identity.weights_of, brittle.load_encoder):
        told = None
        try:
            ask(text)
        except BrittleError as error:
            told = error
        assert told is None or ("\n" not in str(told) and told.exit_code in (2, 4))


@pytest.mark.parametrize("name", components.names("encoders"))
def test_every_option_with_odd_values(name) -> None:
    options = components.settings_of(components.component("encoders", name).function)
    for key, value in itertools.product(options, VALUES):
        settings = {"pretrained": "false"} if "pretrained" in options else {}
        settings[key] = value
        one_line(f"{SPECS[name]}({', '.join(f'{each}={given}' for each, given in settings.items())})")


@pytest.mark.parametrize("name", components.names("encoders"))
def test_a_name_alone_says_what_to_write(name) -> None:
    if name == "pixels":
        return
    with pytest.raises(BrittleError) as caught:
        brittle.load_encoder(name)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["timm:test_vit.(pretrained=false)", "timm:", 
     "timm:.x", "timm:hf_hub:a/b", "timm:test_vit.no_such_tag", "hf:///", "hf:a/b/c",
     "hf:.", "hf:..", "file:/", "file:.", "file:~nobody/x", "py::", "py:x.py:", "py:.", 
     "open_clip:/", "open_clip:hf-hub:",
     "open_clip:local-dir:.", "open_clip:ViT-B-32/", "embedded:../dino", "pixels(size=8193)", "pixels(size=9)",
     "timm:beit_base_patch16_224(pretrained=false, size=8193)"],
)  # fmt: skip
def test_odd_names(text) -> None:
    one_line(text)


def test_a_size_below_the_patch() -> None:
    with pytest.raises(BrittleError, match=r"gmlp_ti16_224 (cannot be made for images of 7|sees patches of 16 pixels)"):
        brittle.load_encoder("timm:gmlp_ti16_224(pretrained=false, size=7)")
