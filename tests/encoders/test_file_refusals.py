"""What ``file:`` refuses: code in a pickle, wrong architectures, keys that are missing, foreign or misshapen, weights
that change."""

import json
import os
from pathlib import Path

import pytest
import torch
from made import saved, vit

import brittle
from brittle.core.errors import MissingError, UsageError
from brittle.evaluation import measure
from brittle.planning import identity

TINY = {"width": 192, "patch": 16, "side": 14}


def refusal(text: str, kind: type[Exception] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        brittle.load_encoder(text)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 900
    return message


class Canary:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.threat("pickle")
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy pickle"])
@pytest.mark.parametrize("forced", ["", "1"])
def test_a_pickle_that_would_run_code_is_refused(legacy, forced, tmp_path, monkeypatch) -> None:
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    canary = tmp_path / "canary"
    path = tmp_path / "evil.pth"
    torch.save(
        {"state_dict": vit(**TINY, depth=1), "extra": Canary(canary)}, path, _use_new_zipfile_serialization=not legacy
    )
    message = refusal(f"file:{path}")
    assert "could run code" in message
    assert ".system" in message
    assert not canary.exists()


def test_a_class_of_somebody_is_refused(tmp_path) -> None:
    assert "Fraction" in refusal(
        saved(tmp_path, "odd.pth", {"state_dict": vit(**TINY, depth=1), "lr": __import__("fractions").Fraction(1, 2)})
    )


@pytest.mark.fault("F05")
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_damaged_files(content, tmp_path) -> None:
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(content)
        assert "no checkpoint that can be read" in refusal(f"file:{path}") or "could run code" in refusal(
            f"file:{path}"
        )


@pytest.mark.fault("F05")
def test_a_truncated_checkpoint(tmp_path) -> None:
    text = saved(tmp_path, "dino.pth", vit(**TINY))
    path = Path(text.removeprefix("file:"))
    path.write_bytes(path.read_bytes()[:-1000])
    refusal(text)


@pytest.mark.fault("F21")
def test_missing_keys(tmp_path) -> None:
    state = {key: value for key, value in vit(**TINY).items() if not key.startswith("blocks.11.")}
    message = refusal(saved(tmp_path, "dino.pth", state))
    assert "12 missing: blocks.11.norm1.weight, " in message
    assert "92.0 % of the encoder's keys" in message


@pytest.mark.fault("F21")
def test_foreign_keys(tmp_path) -> None:
    message = refusal(
        saved(tmp_path, "dino.pth", {**vit(**TINY), **{f"adapter.{i}.weight": torch.zeros(1) for i in range(7)}})
    )
    assert (
        "7 unexpected: adapter.0.weight, adapter.1.weight, adapter.2.weight, adapter.3.weight, adapter.4.weight"
        in message
    )
    assert "adapter.5" not in message
    beside = {
        "state_dict": {**{f"backbone.{key}": value for key, value in vit(**TINY).items()}, "lora.a": torch.zeros(1)}
    }
    assert "1 unexpected: lora.a" in refusal(saved(tmp_path, "deacl.ckpt", beside))


@pytest.mark.fault("F22")
def test_misshapen_keys(tmp_path) -> None:
    message = refusal(saved(tmp_path, "dino.pth", {**vit(**TINY), "blocks.3.attn.qkv.weight": torch.zeros(5, 192)}))
    assert "1 misshapen: blocks.3.attn.qkv.weight is 5x192, wanted 576x192" in message


@pytest.mark.fault("F22")
def test_a_wrong_architecture_comes_with_a_table_of_shapes(tmp_path) -> None:
    text = saved(tmp_path, "dino.pth", vit(**TINY))
    message = refusal(f"{text}(arch=dino_vits16)")
    assert "cls_token is 1x1x192, wanted 1x1x384" in message
    assert "does not fit" in message
    message = refusal(f"{text}(arch=dino_vitt8)")
    assert (
        "pos_embed is 1x197x192, wanted 1x785x192; " in message
        or "patch_embed.proj.weight is 192x3x16x16, wanted 192x3x8x8" in message
    )
    assert "did you mean 'dino_vitb16'?" in refusal(f"{text}(arch=dino_vit_b16)")


def test_positions_of_another_size(tmp_path) -> None:
    assert "pos_embed is 1x257x192, wanted 1x197x192" in refusal(saved(tmp_path, "dino.pth", vit(192, 16, 16)))


def test_an_unknown_width_is_asked_about(tmp_path) -> None:
    assert "choose with arch=, one of cifar_resnet101" in refusal(saved(tmp_path, "odd.pth", vit(120, 16, 14)))


def test_nothing_known_inside(tmp_path) -> None:
    message = refusal(saved(tmp_path, "head.pth", {"epoch": 3, "state_dict": {"linear.weight": torch.zeros(2)}}))
    assert "no encoder found in it (it holds epoch, state_dict)" in message


def test_several_encoders(tmp_path) -> None:
    both = {f"{name}.{key}": value for name in ("left", "right") for key, value in vit(**TINY, depth=1).items()}
    text = saved(tmp_path, "two.pth", both)
    assert "several encoders in it (:left., :right.); choose one with part=" in refusal(text)
    assert "nothing in it is called 'middle'" in refusal(f"{text}(part=middle)")


def test_no_file(tmp_path) -> None:
    assert "no file" in refusal(f"file:{tmp_path}/absent.pth", MissingError)


def test_fine_tuned_weights_need_their_card(tmp_path) -> None:
    from safetensors.torch import save_file

    encoder = brittle.load_encoder("embedded:random")
    path = tmp_path / "encoder.safetensors"
    save_file({key: value.contiguous() for key, value in encoder.state_dict().items()}, path)
    assert "encoder.json" in refusal(f"file:{path}", MissingError)
    card = {"base": "embedded:random", "sha256": brittle.core.files.sha256_of_file(path)}
    path.with_suffix(".json").write_text(json.dumps(card), encoding="utf8")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(brittle.load_encoder(f"file:{path}")(images).pooled, encoder(images).pooled)
    assert "arch=dino_vitb16 cannot be set" in refusal(f"file:{path}(arch=dino_vitb16)")
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    assert "sha256 is not the card's" in refusal(f"file:{path}")


def test_a_classifier_is_asked_about(tmp_path) -> None:
    """A plain ViT with a classifier has DINO's keys, but who knows which mean and std."""
    text = saved(
        tmp_path, "vit.pth", {**vit(**TINY), "head.weight": torch.zeros(10, 192), "head.bias": torch.zeros(10)}
    )
    assert "choose with arch=" in refusal(text)
    assert brittle.load_encoder(f"{text}(arch=dino_vitt16)").about["arch"] == "dino_vitt16"


@pytest.mark.fault("F21")
@pytest.mark.threat("pickle")
def test_a_run_refuses_before_any_work(tmp_path, request) -> None:
    command = request.getfixturevalue("brittle")
    text = saved(tmp_path, "dino.pth", {key: value for key, value in vit(**TINY).items() if key != "norm.bias"})
    canary = tmp_path / "canary"
    torch.save({"state_dict": vit(**TINY, depth=1), "extra": Canary(canary)}, tmp_path / "evil.pth")
    data = ["-d", "scenes(train=8, val=8, test=4)", "-t", "classification", "--output-dir", str(tmp_path / "run")]
    for wanted, why, exit_code in (
        (text, "1 missing: norm.bias", 2),
        (f"file:{tmp_path}/evil.pth", "could run code", 2),
        (f"file:{tmp_path}/absent.pth", "no file", 4),
    ):
        code, _, err = command("run", "-e", wanted, *data)
        assert code == exit_code
        assert why in err.splitlines()[-1]
    assert not canary.exists()


@pytest.mark.fault("F28")
def test_weights_swapped_after_they_were_hashed(tmp_path) -> None:
    text = saved(tmp_path, "dino.pth", vit(**TINY))
    before = identity.weights_of(text)
    measure.encoder_of.cache_clear()
    measure.encoder_of(text, "cpu", before)
    saved(tmp_path, "dino.pth", vit(**TINY, seed=1))
    after = identity.weights_of(text)
    assert after != before
    measure.encoder_of.cache_clear()
    with pytest.raises(UsageError, match="changed after they were hashed"):
        measure.encoder_of(text, "cpu", before)
    measure.encoder_of(text, "cpu", after)


@pytest.mark.fault("F28")
def test_weights_swapped_in_the_middle_of_a_run_give_no_number(tmp_path, monkeypatch) -> None:
    """The file changes after the plan was made: the cell fails, and nothing is stored under either name as if it were
    right."""
    from brittle.launch.parts import cell as launcher

    text = saved(tmp_path, "dino.pth", vit(**TINY))
    real = launcher.measure

    def swapped(*arguments):
        saved(tmp_path, "dino.pth", vit(**TINY, seed=1))
        return real(*arguments)

    monkeypatch.setattr(launcher, "measure", swapped)
    monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path / "cache"))
    results = brittle.run(
        [f"{text}(size=32)"],
        ["scenes(train=8, val=8, test=4)"],
        ["classification"],
        attacks=["noise"],
        limit=2,
        output_dir=tmp_path / "run",
    )
    stored = brittle.read_run(tmp_path / "run")
    assert all(result.failed for result in [*results, *stored])
    assert "changed since the run began" in str(stored[0].failed)
