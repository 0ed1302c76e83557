"""The training loop: a resumed run is a straight one, bit for bit, and its settings do what they say."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from tuned import Small, fitting, pictures

from brittle.core import components, files
from brittle.core.errors import CellError, UsageError
from brittle.tuning.parts import training
from brittle.tuning.parts.augment import augmented
from brittle.tuning.parts.method import Method
from brittle.tuning.parts.recipe import Recipe, recipe_of
from brittle.tuning.parts.source import loader, shuffled

RECIPE = Recipe(steps=12, batch=4, lr=1e-2, warmup=0.25, decay=0.1)
METHODS = components.names("tuning")
QUICK = {"attack": "pgd(objective=embedding(tokens=cls), steps=1, step=1, keep=last)"}


class Stopped(Exception):
    pass


class Nobody:
    """A watcher that stops a run at a step, or notes what it is told."""

    def __init__(self, at: int = -1) -> None:
        self.at, self.told = at, []

    def step(self, step: int, loss: float, rate: float) -> None:
        self.told.append((step, loss, rate))
        if step == self.at:
            raise Stopped

    def stop(self, step: int, method: Method) -> bool:
        return False


def made(name: str = "deacl", **settings: object) -> Method:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        spec = components.complete("tuning", name)
        inner = {"attack": "pgd(steps=1, step=1, keep=last)"} if _traits(name).target else QUICK
        given = {**spec.settings, **inner, **settings}
        return components.call(
            components.component("tuning", name).function, replace(spec, settings=given), fitting(name), pictures()
        )


def _traits(name: str):
    return components.component("tuning", name).traits


def run(
    method: Method, recipe: Recipe = RECIPE, watcher: Nobody | None = None, checkpoint: Path | None = None
) -> Nobody:
    watcher = watcher or Nobody()
    training.train(method, pictures(), recipe, watcher, what="test", checkpoint=checkpoint)
    return watcher


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.fault("F02")
@pytest.mark.parametrize("name", METHODS)
def test_resumed_equals_straight_for_each_method(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", -1.0)
    recipe = replace(RECIPE, ema=0.8, augment="ssl", optimiser="sgd")
    straight, told = made(name), run(made(name), recipe).told
    run(straight, recipe)
    assert not same(straight.student, made(name).student), "it learns"
    with pytest.raises(Stopped):
        run(made(name), recipe, Nobody(7), tmp_path / "checkpoint")
    resumed = made(name)
    again = run(resumed, recipe, checkpoint=tmp_path / "checkpoint")
    assert same(resumed, straight)
    assert [step for step, *_ in again.told] == list(range(7, 13)), "what was not saved is made again, no more"
    assert again.told == told[6:]


@pytest.mark.fault("F02", "F05")
@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "lars"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_damaged_checkpoint_is_ignored(optimiser: str, mode: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", -1.0)
    recipe, path = replace(RECIPE, optimiser=optimiser, mode=mode), tmp_path / "checkpoint"
    straight = made()
    run(straight, recipe)
    with pytest.raises(Stopped):
        run(made(), recipe, Nobody(7), path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data in (b"", whole[:20], bytes(flipped)):
        path.write_bytes(data)
        resumed = made()
        told = run(resumed, recipe, checkpoint=path).told
        assert same(resumed, straight)
        assert len(told) == 12


POINTS = {
    "before the temporary file": (files.tempfile, "mkstemp", 3),
    "before fsync": (os, "fsync", 5),  # each write syncs its file, then its folder
    "before the rename": (Path, "replace", 3),
}


@pytest.mark.fault("F02")
@pytest.mark.parametrize("point", POINTS)
def test_killed_inside_the_third_checkpoint_it_goes_on_from_the_second(
    tmp_path: Path, monkeypatch, fork, point: str
) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", -1.0)
    straight, path = made(), tmp_path / "checkpoint"
    told = run(straight).told
    holder, name, count = POINTS[point]

    def body() -> None:
        real, calls = getattr(holder, name), []

        def dying(*given, **named):
            calls.append(1)
            if len(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **named)

        setattr(holder, name, dying)
        run(made(), checkpoint=path)

    process, log = fork(body)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, log.read_text()
    resumed = made()
    assert run(resumed, checkpoint=path).told == told[2:]
    assert same(resumed, straight)


def test_a_loss_that_is_no_number_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", -1.0)
    path = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        run(made(), watcher=Nobody(3), checkpoint=path)
    method = made()
    real = method.loss
    method.loss = lambda seen: real(seen) * torch.nan
    kept = path.read_bytes()
    with pytest.raises(
        CellError, match=r"training loss is nan at step 2; lower lr; .*checkpoint is of an earlier step"
    ):
        run(method, checkpoint=path)
    assert path.read_bytes() == kept


def test_the_rate_warms_up_and_ends_at_zero() -> None:
    recipe = Recipe(steps=100, lr=2.0, warmup=0.1, warmup_from=0.5)
    rates = [recipe.rate(step, 640) for step in range(101)]
    assert rates[0] == pytest.approx(1.0)
    assert rates[9] == rates[10] == pytest.approx(2.0)
    assert rates[1] - rates[0] == pytest.approx(rates[9] - rates[8])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert {replace(recipe, schedule="constant").rate(step, 640) for step in range(10, 100)} == {2.0}


@pytest.mark.parametrize("recipe", [Recipe(steps=10), Recipe(epochs=3, batch=4), Recipe(epochs=3, batch=100)])
@pytest.mark.parametrize("every", [0, 1, 2, 3, 7])
def test_how_often_something_is_due(recipe: Recipe, every: int) -> None:
    steps = range(recipe.total(12) + 1)
    assert recipe.often(every, 12) == sum(recipe.due(step, every, 12) for step in steps)


def test_the_rate_by_epochs_is_that_of_the_release() -> None:
    """LinearWarmupCosineAnnealingLR of pl_bolts as in DeACL: base .5, from .003 over 10 of 100 epochs."""
    recipe = Recipe(epochs=100, batch=256, lr=0.5, lr_batch=256, warmup=0.1, warmup_from=0.006, rate_by="epoch")
    for epoch in range(100):
        if epoch < 10:
            wanted = 0.003 + epoch * (0.5 - 0.003) / 9
        else:
            wanted = 0.25 * (1 + math.cos(math.pi * (epoch - 10) / 90))
        steps = range(epoch * 195, (epoch + 1) * 195)
        assert {round(recipe.rate(step, 50_000), 9) for step in steps} == {round(wanted, 9)}
    assert replace(recipe, batch=512).rate(97 * 20, 50_000) == pytest.approx(2 * recipe.rate(195 * 20, 50_000))


def test_every_image_once_an_epoch_in_a_new_order() -> None:
    epochs = [[i for step in range(5 * e, 5 * e + 5) for i in shuffled(10, 2, 0, step)] for e in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]
    assert [shuffled(10, 2, 0, i) for i in range(5)] != [shuffled(10, 2, 1, i) for i in range(5)]
    assert len(shuffled(3, 2, 0, 7)) == 2


def test_batches_are_the_same_whoever_reads_them_and_shared_out_without_overlap() -> None:
    source, recipe = pictures(), replace(RECIPE, augment="crop")
    alone = list(loader(source, recipe, range(3, 7)))
    ahead = list(loader(source, replace(recipe, workers=2), range(3, 7)))
    for one, other in zip(alone, ahead, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.ids == other.ids
    halves = [list(loader(source, recipe, range(3, 7), rank=rank, world=2)) for rank in range(2)]
    for whole, *parts in zip(alone, *halves, strict=True):
        assert sorted(whole.ids) == sorted(name for part in parts for name in part.ids)
        assert not set(parts[0].ids) & set(parts[1].ids)
        order = [whole.ids.index(name) for name in parts[1].ids]
        assert torch.equal(parts[1].images, whole.images[order])


@pytest.mark.parametrize("how", ["crop", "resized", "ssl"])
def test_views_are_of_the_image_and_its_name_alone(how: str) -> None:
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    views = [augmented(image, how, 0, f"a@{step}") for step in range(16)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(views[3], augmented(image, how, 0, "a@3"))
    assert len({view.numpy().tobytes() for view in views}) > 12
    assert all(view.shape == image.shape and view.min() >= 0 and view.max() <= 1 for view in views)
    assert torch.equal(augmented(image, "none", 0, "a@3"), image)


def test_a_crop_moves_the_image_by_an_eighth_at_most_and_flips_it() -> None:
    image = torch.linspace(0.1, 1, 16).expand(3, 16, 16)
    for step in range(20):
        row = augmented(image, "crop", 0, f"a@{step}")[0, 8]
        inside = row[row > 0]
        assert len(inside) >= 14
        assert (inside.diff() > 0).all() or (inside.diff() < 0).all()


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    whole, parts = made("fare"), made("fare")
    one, other = run(whole), run(parts, replace(RECIPE, accumulate=4))
    for (_, a, _), (_, b, _) in zip(one.told, other.told, strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_only_the_weights_that_are_named_are_tuned() -> None:
    method = made()
    run(method, replace(RECIPE, tuned=("blocks.0.*",)))
    before, after = Small().state_dict(), method.student.state_dict()
    assert {key for key in before if not torch.equal(before[key], after[key])} == {"blocks.0.weight", "blocks.0.bias"}
    with pytest.raises(
        UsageError, match=r"tuned=\['\*head\*'\] fits no weights of the encoder; it has blocks.0.weight"
    ):
        run(made(), replace(RECIPE, tuned=("*head*",)))


def test_the_mean_of_the_weights_is_what_is_written() -> None:
    seen: list[Tensor] = []

    class Looking(Nobody):
        def stop(self, step: int, method: Method) -> bool:
            seen.append(next(method.student.parameters()).detach().clone())
            return False

    plain = made()
    last: list[Tensor] = []

    class Last(Nobody):
        def step(self, step: int, loss: float, rate: float) -> None:
            last.append(next(plain.student.parameters()).detach().clone())

    run(plain, RECIPE, Last())
    method = made()
    run(method, replace(RECIPE, ema=0.5), Looking())
    mean = next(Small().parameters()).detach().clone()
    for step, weight in enumerate(last, 1):
        mean = mean.lerp(weight, 0.5)
        torch.testing.assert_close(seen[step], mean)
    torch.testing.assert_close(next(method.student.parameters()).detach(), mean)


def test_a_run_that_is_stopped_keeps_its_last_step(tmp_path: Path) -> None:
    """Without waiting for the next checkpoint; not so where an error ended it."""
    straight, path = made(), tmp_path / "checkpoint"
    run(straight)
    with pytest.raises(Stopped):
        run(made(), watcher=Nobody(4), checkpoint=path)
    assert not path.exists()
    method, calls = made(), []
    real = method.loss

    def loss(seen):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(seen)

    method.loss = loss
    with pytest.raises(KeyboardInterrupt):
        run(method, checkpoint=path)
    resumed = made()
    assert [step for step, *_ in run(resumed, checkpoint=path).told] == list(range(6, 13))
    assert same(resumed, straight)


def test_a_long_gradient_is_cut() -> None:
    moved = []
    for clip in (0.0, 1e-6):
        method = made("fare")
        run(method, Recipe(steps=1, batch=4, lr=1.0, optimiser="sgd", momentum=0.0, warmup=0.0, clip=clip))
        pairs = zip(method.student.parameters(), Small().parameters())
        moved.append(math.sqrt(sum(float((a - b).square().sum()) for a, b in pairs)))
    assert moved[1] == pytest.approx(1e-6, rel=0.05)
    assert moved[0] > 10 * moved[1]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_student_is_in_the_mode_asked_for_while_it_learns_and_never_while_it_is_attacked(mode: str) -> None:
    seen: set[tuple[bool, bool]] = set()
    spec = components.complete("tuning", "deacl")
    teacher = Small(dropout=0.5)
    method = components.build("tuning", spec, teacher, pictures())
    real = Small.forward

    def forward(self: Small, images: Tensor):
        learns = self.blocks[0].weight.requires_grad
        seen.add((learns, self.training))
        return real(self, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Small, "forward", forward)
        run(method, replace(RECIPE, steps=1, mode=mode))
    assert seen == {(False, False), (True, mode == "train")}
    assert not method.student.training


def test_the_teacher_is_left_alone() -> None:
    teacher = Small().train()
    method = components.build("tuning", "deacl", teacher, pictures())
    run(method)
    assert same(teacher, Small())
    assert teacher.training
    assert all(p.requires_grad for p in teacher.parameters())
    assert same(method.teacher, Small())


def test_an_encoder_without_weights_is_refused() -> None:
    pixels = components.build("encoders", "pixels(size=8)")
    with pytest.raises(UsageError, match="no weights to tune"):
        run(components.build("tuning", "deacl", pixels, pictures()))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"lr": 0}, "lr=0: input should be greater than 0"),
        ({"steps": 0}, "steps=0"),
        ({"optimiser": "adamx"}, "'adamw', 'sgd' or 'lars'"),
        ({"ema": 1.0}, "ema=1"),
        ({"batch": 6, "devices": 4}, "batch=6 is not shared evenly by 4 parts"),
        ({"patience": 2}, "set probe_every too"),
        ({"precision": "fp8"}, "precision=fp8"),
        ({"decay": math.nan}, "decay=nan"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        recipe_of(settings)


DATA = "scenes(train=12, val=12, test=8, size=32)"
CODE = """
import os, sys, brittle
from brittle.tuning.parts import training
training.SAVE_EVERY = -1.0
real = training._Run.save
def save(self):
    real(self)
    print(self.done, flush=True)
training._Run.save = save
brittle.finetune(sys.argv[1], "embedded:random", sys.argv[2], output_dir=sys.argv[3], limit=8)
"""


@pytest.mark.fault("F02")
@pytest.mark.parametrize("name", ["deacl", "lore"])
def test_killed_at_any_moment_it_ends_with_the_same_weights(name: str, tmp_path: Path) -> None:
    method = f"{name}(steps=6, batch=4, augment=crop, attack='{QUICK['attack']}')"
    command = [sys.executable, "-c", CODE, method, DATA]
    subprocess.run([*command, tmp_path / "straight"], check=True, capture_output=True)
    with subprocess.Popen([*command, tmp_path / "killed"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"1\n"
        assert child.stdout.readline() == b"2\n"
        time.sleep(0.05)
        os.kill(child.pid, signal.SIGKILL)
    assert not (tmp_path / "killed/encoder.safetensors").exists()
    subprocess.run([*command, tmp_path / "killed"], check=True, capture_output=True)
    ends = [(tmp_path / place / "encoder.safetensors").read_bytes() for place in ("straight", "killed")]
    assert ends[0] == ends[1]
    logs = [(tmp_path / place / "log.csv").read_text().splitlines() for place in ("straight", "killed")]
    steps = [[row.split(",")[:3] for row in log] for log in logs]
    assert steps[0] == steps[1]
    assert [row[0] for row in steps[0]] == ["step", *map(str, range(1, 7))]
