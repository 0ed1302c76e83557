"""The training loop and what fine-tuning writes: a resumed run is a straight one, bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brittle.api import finetune, load_encoder
from brittle.core import components, files
from brittle.core.errors import CellError, MissingError, UsageError
from brittle.tuning.parts import training
from brittle.types import Batch, Encoder, Features

STEPS = 12


class Stopped(Exception):
    pass


def _net() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 8), nn.GELU(), nn.Linear(8, 3))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return net


def _batch(step: int) -> Batch:
    images = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(step))
    return Batch(images, torch.arange(4) % 3, ["a", "b", "c", "d"])


def _loss(module: nn.Module, batch: Batch, _step: int) -> Tensor:
    return nn.functional.cross_entropy(module(batch.images.flatten(1)), batch.target)


def _train(
    batches: Callable[[int], Batch] = _batch, checkpoint: Path | None = None, loss: training.Loss = _loss
) -> nn.Module:
    return training.train(
        _net(), loss, batches, steps=STEPS, rate=1e-2, warmup=3, decay=0.1, what="test", checkpoint=checkpoint
    )


def _same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def _stopping(at: int, seen: list[int]) -> Callable[[int], Batch]:
    def batches(step: int) -> Batch:
        if step == at:
            raise Stopped
        seen.append(step)
        return _batch(step)

    return batches


@pytest.mark.parametrize("at", [1, 7, 11])
def test_resumed_equals_straight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", -1.0)
    straight, path, seen = _train(), tmp_path / "checkpoint", []
    assert not _same(straight, _net())
    with pytest.raises(Stopped):
        _train(_stopping(at, seen), path)
    resumed = _train(_stopping(-1, seen), path)
    assert seen == list(range(STEPS))  # no step was made twice
    assert _same(resumed, straight)


def test_a_damaged_checkpoint_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", -1.0)
    straight, path = _train(), tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        _train(_stopping(7, []), path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data in (b"", whole[:20], whole[:-1], bytes(flipped)):
        path.write_bytes(data)
        seen: list[int] = []
        assert _same(_train(_stopping(-1, seen), path), straight)
        assert seen == list(range(STEPS))


def test_a_loss_that_is_no_number_is_refused() -> None:
    with pytest.raises(CellError, match="training loss is nan at step 0"):
        _train(loss=lambda module, batch, step: _loss(module, batch, step) * torch.nan)


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    rates = [training.learning_rate(step, 100, 10) for step in range(101)]
    assert rates[:10] == [pytest.approx((i + 1) / 10) for i in range(10)]
    assert rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_every_image_once_an_epoch_in_a_new_order() -> None:
    epochs = [[i for step in range(5 * e, 5 * e + 5) for i in training.shuffled(10, 2, 0, step)] for e in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]
    assert training.shuffled(10, 2, 0, 3) == training.shuffled(10, 2, 0, 3)
    assert [training.shuffled(10, 2, 0, i) for i in range(5)] != [training.shuffled(10, 2, 1, i) for i in range(5)]
    assert len(training.shuffled(3, 2, 0, 7)) == 2


# --- fine-tuning ------------------------------------------------------------------------------------------------------

METHOD, DATA = "deacl(steps=3, attack_steps=1, warmup=1)", "scenes(train=8, val=8, test=8, size=8)"


def _tune(folder: Path, method: str = METHOD, seed: int = 0) -> Path:
    return finetune(method, "embedded:random", DATA, output_dir=folder, batch_size=2, seed=seed, limit=4)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _tune(tmp_path_factory.mktemp("tuned"))


def _weights(encoder: Encoder) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in encoder.state_dict().items()}


def test_finetune_writes_an_encoder_and_its_card(tuned: Path) -> None:
    card = json.loads(tuned.with_suffix(".json").read_text("utf8"))
    assert card["base"] == "embedded:random"
    assert "steps=3" in card["method"]
    assert card["images"] == 4
    loaded, start = load_encoder(f"file:{tuned}"), load_encoder("embedded:random")
    assert loaded.about["sha256"] == card["sha256"] != start.about["sha256"]
    moved = [(loaded.state_dict()[key] - value).abs().max().item() for key, value in start.state_dict().items()]
    assert 0 < max(moved) < 0.1
    images = torch.rand(2, 3, 64, 64)
    assert not torch.equal(loaded(images).pooled, start(images).pooled)
    assert not loaded.training


def test_finetune_resumes_bitwise(tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", -1.0)
    real = training.shuffled

    def stopping(count: int, size: int, seed: int, step: int) -> object:
        if step == 2:
            raise Stopped
        return real(count, size, seed, step)

    with monkeypatch.context() as patch:
        patch.setattr(training, "shuffled", stopping)
        with pytest.raises(Stopped):
            _tune(tmp_path)
    assert list(tmp_path.glob("checkpoint-*"))
    assert not (tmp_path / "encoder.safetensors").exists()
    assert _tune(tmp_path).read_bytes() == tuned.read_bytes()


def test_an_empty_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch_size is 0"):
        finetune("deacl", "pixels(size=8)", "scenes(train=8, val=1, test=1, size=8)", output_dir=tmp_path, batch_size=0)


def test_deacl_leaves_the_teacher_alone() -> None:
    from brittle.tuning.deacl import deacl

    teacher = load_encoder("embedded:random")
    before, flags = _weights(teacher), [p.requires_grad for p in teacher.parameters()]
    images = torch.rand(2, 3, 64, 64)
    student = deacl(
        teacher, lambda step: Batch(images, torch.zeros(2), ["a", "b"]), 0, steps=1, attack_steps=1, warmup=1
    )
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert [p.requires_grad for p in teacher.parameters()] == flags
    assert not teacher.training
    assert not student.training
    assert any(not torch.equal(before[key], value) for key, value in student.state_dict().items())


@pytest.mark.parametrize("damage", ["flip", "no card", "bad card", "no file", "other network"])
def test_a_file_that_does_not_fit_is_refused(tuned: Path, tmp_path: Path, damage: str) -> None:
    from safetensors.torch import save

    path = tmp_path / "encoder.safetensors"
    data, card = tuned.read_bytes(), json.loads(tuned.with_suffix(".json").read_text("utf8"))
    if damage == "flip":
        data = data[:-1] + bytes([data[-1] ^ 1])
    if damage == "other network":
        data = save({"x": torch.zeros(2)})
        card["sha256"] = files.sha256(data)
    if damage != "no file":
        path.write_bytes(data)
    if damage != "no card":
        path.with_suffix(".json").write_text("{" if damage == "bad card" else json.dumps(card))
    with pytest.raises(MissingError if damage.startswith("no ") else UsageError):
        load_encoder(f"file:{path}")


def test_the_frozen_teacher_is_in_evaluation_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[bool, bool]] = set()

    class Dropped(Encoder):
        def __init__(self) -> None:
            super().__init__(3, 8, size=8, mean=(0.5,) * 3, std=(0.25,) * 3, about={})
            self.layer = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 8), torch.nn.Dropout(0.5))

        def forward(self, images: Tensor) -> Features:
            teacher = not self.layer[0].weight.requires_grad and not torch.is_grad_enabled()
            seen.add((teacher, self.layer[1].training))
            grid = self.layer(images)
            return Features(grid.mean((2, 3)), grid)

    draw = training.Batches(lambda _step: Batch(torch.rand(2, 3, 8, 8), torch.empty(2, 0), ["a", "b"]))
    components.build("tuning", "deacl(steps=1, attack_steps=1)", Dropped().train(), draw, 0)
    assert (True, False) in seen, "the teacher and the inner attack"
    assert (True, True) not in seen
    assert (False, True) in seen, "the student alone is in training mode"


def test_an_encoder_without_weights_is_refused() -> None:
    draw = training.Batches(lambda _step: Batch(torch.rand(2, 3, 8, 8), torch.empty(2, 0), ["a", "b"]))
    with pytest.raises(UsageError, match="no weights to tune"):
        components.build("tuning", "deacl(steps=1)", components.build("encoders", "pixels(size=8)"), draw, 0)
