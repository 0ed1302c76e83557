"""``brittle verify``: a line for each recorded value, and exit 1 naming the one that a fault throws off."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from brittle import verify
from brittle.types.threat import Threat

Brittle = Callable[..., tuple[int, str, str]]


@pytest.fixture
def quick_oracles(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the features, which take half a minute and are looked at in tests/oracles."""
    assert verify.features in verify.QUICK
    monkeypatch.setattr(verify, "QUICK", tuple(oracle for oracle in verify.QUICK if oracle is not verify.features))


def test_all_lines_are_ok(brittle: Brittle, quick_oracles: None) -> None:
    code, out, err = brittle("verify")
    assert code == 0, out
    lines = out.splitlines()
    assert all(line.startswith("ok ") and "largest difference" in line and "tolerance" in line for line in lines)
    for name in (
        "pgd20 images but one",
        "pgd20_l2 images but one",
        "segpgd",
        "cospgd",
        "miou",
        "macc",
        "aacc",
        "rmse",
        "sigloss",
    ):
        assert any(name in line for line in lines), name
    assert "verifying depth" in err
    assert not any("apgd" in line for line in lines), "takes long"


def test_a_wrong_sign_in_the_attack_is_named(
    brittle: Brittle, quick_oracles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Threat.ascend

    def down(self: Threat, images: Tensor, gradient: Tensor, step: float) -> Tensor:
        return real(self, images, -gradient, step)

    monkeypatch.setattr(Threat, "ascend", down)
    code, out, err = brittle("verify", "-q")
    assert code == 1
    off = [line for line in out.splitlines() if line.startswith("off")]
    assert any("pgd20 images" in line for line in off)
    assert any("segpgd" in line for line in off)
    assert not any("miou" in line for line in off)
    (said,) = err.splitlines()
    assert said.startswith("brittle: ")
    assert "pgd20 images" in said


@pytest.mark.parametrize(
    ("name", "key", "change", "line"),
    [
        ("dense_a", "miou", 2e-6, "miou"),
        ("dense_a", "rmse_per_image", 1e-3, "rmse (relative)"),
        ("dense_a", "gradloss_per_image", float("nan"), "gradloss (relative)"),
        ("dense_a", "segpgd", 1e-4, "segpgd images"),
        ("cls_a", "pgd20_images", 1e-4, "pgd20 images but one"),
    ],
)
def test_a_perturbed_value_is_named(
    brittle: Brittle, quick_oracles: None, monkeypatch, name, key, change, line
) -> None:
    arrays = dict(verify.recorded(name))
    arrays[key] = arrays[key] + change
    real = verify.recorded
    monkeypatch.setattr(verify, "recorded", lambda wanted: arrays if wanted == name else real(wanted))
    code, out, err = brittle("verify", "-q")
    assert code == 1
    assert [text.split("  ")[1] for text in out.splitlines() if text.startswith("off")] == [line]
    assert err == f"brittle: 1 of {len(out.splitlines())} recorded values are not met: {line}\n"


def test_other_features_are_off() -> None:
    case = verify.cases()[0]
    rows, columns = verify.recorded("backbones_a")[f"{case}/grid"].tolist()
    from brittle.types import Features

    assert verify.feature_gap(case, Features(torch.zeros(1, 384), torch.zeros(1, 384, rows, columns))) > 0.1
    assert verify.feature_gap(case, Features(torch.zeros(1, 384), torch.zeros(1, 384, rows + 1, columns))) == float(
        "inf"
    )


def test_full_counts_what_every_part_of_autoattack_leaves(quick_oracles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []

    def some(attack: str, norm: Any, rows: Any = None) -> tuple[None, Tensor]:
        asked.append((attack, norm))
        (key,) = [key for key, text in verify.COUNTED.items() if text == attack]
        return None, verify.recorded("cls_a")[f"robust:{verify.NORMS[norm][1]}/{key}"].roll(1)

    monkeypatch.setattr(verify, "QUICK", ())
    monkeypatch.setattr(verify, "attacked", some)
    lines = list(verify.verify(full=True))
    assert asked == [(text, norm) for text in verify.COUNTED.values() for norm in ("linf", "l2")]
    assert all(line.ok and line.tolerance == (12 if "square" in line.name else 2) for line in lines)
    monkeypatch.setattr(verify, "attacked", lambda *_: (None, torch.ones(200, dtype=torch.bool)))
    assert not any(line.ok for line in verify.counted("apgd-t", "linf"))
