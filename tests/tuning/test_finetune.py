"""What fine-tuning writes, and what it refuses before any work."""

import csv
import json
import math
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tuned import vit

import brittle as package
from brittle.api import finetune, load_encoder, tuning
from brittle.core import components, files
from brittle.core.errors import MissingError, UsageError
from brittle.encoders.parts import cards
from brittle.encoders.parts.extra_tokens import extended
from brittle.results.store import Store
from brittle.types import Encoder

INNER = "attack='pgd(objective=embedding(tokens=cls), steps=1, step=1, keep=last)'"
METHOD, DATA = f"deacl(steps=4, batch=2, {INNER})", "scenes(train=12, val=12, test=8, size=32)"


def _tune(folder: Path, method: str = METHOD, seed: int = 0, encoder: str = "embedded:random", **given: object) -> Path:
    return finetune(method, encoder, DATA, output_dir=folder, seed=seed, limit=4, **given)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _tune(tmp_path_factory.mktemp("tuned"), METHOD.replace("steps=4", "epochs=2, save_every=1"))


def _weights(encoder: Encoder) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in encoder.state_dict().items()}


def test_an_encoder_is_one_file_with_its_card_inside(tuned: Path, tmp_path: Path) -> None:
    card = _card(tuned)
    assert card["base"] == "embedded:random"
    assert card["recipe"] == {"epochs": 2, "batch": 2, "save_every": 1}
    assert card["images"] == 4
    assert (card["step"], card["epoch"]) == (4, 2.0)
    moved = shutil.copy(tuned, tmp_path / "any name.safetensors")
    loaded, start = load_encoder(f"file:{moved}"), load_encoder("embedded:random")
    assert loaded.about["sha256"] == files.sha256(tuned.read_bytes())
    assert loaded.about["history"] == {"method": card["method"], "base": "embedded:random", "step": 4, "epoch": 2.0}
    change = [(loaded.state_dict()[key] - value).abs().max().item() for key, value in start.state_dict().items()]
    assert 0 < max(change) < 0.1
    assert not loaded.training


def test_snapshots_are_encoders_in_the_order_of_their_steps(tuned: Path) -> None:
    names = sorted(path.name for path in tuned.parent.glob("*.safetensors"))
    assert names == ["encoder.safetensors", "epoch-000000.safetensors", "epoch-000001.safetensors"]
    pattern = components.component("encoders", "file").traits.expand
    order = [Path(each).name for each in pattern(str(tuned.parent / "*.safetensors"))]
    assert order == ["epoch-000000.safetensors", "epoch-000001.safetensors", "encoder.safetensors"]
    start = load_encoder("embedded:random").state_dict()
    first = load_encoder(f"file:{tuned.parent / names[1]}")
    assert all(torch.equal(start[key], value) for key, value in first.state_dict().items())
    assert first.about["history"]["step"] == 0


def test_of_robustness_tokens_nothing_else_is_trained_and_the_file_has_them(tmp_path: Path) -> None:
    path = _tune(tmp_path / "one", METHOD.replace("deacl(", "robustness_tokens(count=3, lr=.1, "))
    start, loaded = load_encoder("embedded:random"), load_encoder(f"file:{path}")
    kept, found = start.state_dict(), loaded.state_dict()
    assert found.keys() - kept.keys() == {"extra_tokens"}
    assert all(torch.equal(found[key], value) for key, value in kept.items())
    assert found["extra_tokens"].shape == (3, 192)
    assert loaded.about["parameters"] == start.about["parameters"] + 3 * 192
    again = _tune(tmp_path / "two", METHOD.replace("steps=4", "steps=1"), encoder=f"file:{path}")
    assert load_encoder(f"file:{again}").state_dict().keys() == found.keys()
    with pytest.raises(UsageError, match="has extra tokens already; take the encoder that it was tuned from"):
        _tune(tmp_path / "three", "robustness_tokens", encoder=f"file:{path}")


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    """Features of the student that was trained, at its size and at another."""
    student = extended(load_encoder("embedded:random"), torch.randn(5, 192))
    cards.write(tmp_path / "encoder.safetensors", student, {"base": "embedded:random", "step": 1})
    loaded = load_encoder(f"file:{tmp_path / 'encoder.safetensors'}")
    for size in (64, 40):
        images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert all(torch.equal(a, b) for a, b in zip(student(images), loaded(images), strict=True))
    for other, why in ((extended(vit(), torch.randn(5, 12)), "width 192, got extra ones of"), (vit(), "does not fit")):
        cards.write(tmp_path / "other.safetensors", other, {"base": "embedded:random", "step": 1})
        with pytest.raises(UsageError, match=why) as error:
            load_encoder(f"file:{tmp_path / 'other.safetensors'}")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("step", [True, -1, 1.5, math.nan, math.inf, 10**400, "3", [1], None])
def test_a_step_that_there_cannot_be_is_no_place_in_a_history(tuned: Path, tmp_path: Path, step: object) -> None:
    save_file(load_file(tuned), tmp_path / "a.safetensors", {"brittle": json.dumps({**_card(tuned), "step": step})})
    shutil.copy(tuned, tmp_path / "b.safetensors")
    expand = components.component("encoders", "file").traits.expand
    assert [Path(each).name for each in expand(str(tmp_path))] == ["a.safetensors", "b.safetensors"]
    assert "history" not in load_encoder(f"file:{tmp_path / 'a.safetensors'}").about


def test_an_epoch_that_there_cannot_be_is_none(tuned: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(load_file(tuned), path, {"brittle": json.dumps({**_card(tuned), "epoch": math.nan})})
    assert load_encoder(f"file:{path}").about["history"]["epoch"] is None


def _card(path: Path) -> dict[str, object]:
    with safe_open(path, "pt") as stream:
        return json.loads(stream.metadata()["brittle"])


def test_a_card_beside_weights_is_read_still(tuned: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    save_file(load_file(tuned), path)
    card = {"base": "embedded:random", "sha256": files.sha256(path.read_bytes())}
    path.with_suffix(".json").write_text(json.dumps(card))
    one, other = load_encoder(f"file:{path}"), load_encoder(f"file:{tuned}")
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert "history" not in one.about


@pytest.mark.parametrize("damage", ["flip", "cut", "no card", "bad card", "no file", "other network", "no base"])
def test_a_file_that_does_not_fit_is_refused(tuned: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "encoder.safetensors"
    data = tuned.read_bytes()
    card = _card(tuned)
    state = load_file(tuned)
    match damage:
        case "flip":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "no card":
            save_file(state, path)
        case "bad card":
            save_file(state, path, {"brittle": "{"})
        case "no base":
            save_file(state, path, {"brittle": json.dumps({"sha256": card["sha256"]})})
        case "other network":
            save_file({"network.x": torch.zeros(2)}, path, {"brittle": json.dumps(card)})
    with pytest.raises((MissingError, UsageError)) as error:
        load_encoder(f"file:{path}")
    assert "\n" not in str(error.value)
    if damage in ("flip", "other network"):
        assert "sha256 is not the card's" in str(error.value)


def test_a_card_that_leads_to_itself_or_runs_code_is_refused(tmp_path: Path) -> None:
    path, encoder = tmp_path / "encoder.safetensors", load_encoder("embedded:random")
    for base, why in ((f"file:{path}", "leads back to itself"), ("py:evil.py:f", "which a card may not ask for")):
        cards.write(path, encoder, {"base": base, "step": 1})
        with pytest.raises(UsageError, match=why):
            load_encoder(f"file:{path}")


def test_the_log_has_each_step_and_what_was_measured(tmp_path: Path) -> None:
    path = _tune(tmp_path, METHOD.replace("batch", "probe_every=2, batch"))
    rows = list(csv.DictReader((path.parent / "log.csv").open()))
    steps = [int(row["step"]) for row in rows if row["loss"]]
    measured = {int(row["step"]): (float(row["clean"]), float(row["attacked"])) for row in rows if row["clean"]}
    assert steps == [1, 2, 3, 4]
    assert list(measured) == [0, 2, 4]
    assert all(0 <= attacked <= clean <= 1 for clean, attacked in measured.values())
    # by hand, at the end
    encoder = load_encoder(f"file:{path}")
    parts = []
    for split in ("train", "val"):
        data = package.load_dataset(DATA, split)
        images = torch.stack([data[i].image for i in range(len(data))]).float() / 255
        images = torch.nn.functional.interpolate(images, 64, mode="bicubic", antialias=True).clamp(0, 1)
        parts.append((images, torch.tensor([int(data[i].targets["label"]) for i in range(len(data))])))
    task = components.build("tasks", "classification(head=knn)")
    head = task.head(encoder.dim, 8)
    with torch.no_grad():
        head.memorise([(encoder(parts[0][0]), parts[0][1])])
        right = head(encoder(parts[1][0]), ()).argmax(1) == parts[1][1]
    assert measured[4][0] == pytest.approx(right.float().mean().item())


def test_it_stops_when_the_measure_rises_no_more(tmp_path: Path, monkeypatch) -> None:
    from brittle.api import watch

    said = iter([(0.9, 0.1), (0.9, 0.3), (0.9, 0.2), (0.9, 0.3), (0.9, 0.9)])
    monkeypatch.setattr(watch.Watch, "measured", lambda *_: next(said))
    path = _tune(tmp_path, METHOD.replace("steps=4", "steps=40, probe_every=2, patience=2"))
    assert load_encoder(f"file:{path}").about["history"]["step"] == 6


def test_what_was_measured_before_it_was_stopped_counts_still(tmp_path: Path, monkeypatch) -> None:
    """With other snapshots, too."""
    from brittle.api import watch
    from brittle.tuning.parts import training

    monkeypatch.setattr(training, "SAVE_EVERY", -1.0)
    method, measures = METHOD.replace("steps=4", "steps=40, probe_every=2, patience=2"), [0.1, 0.3, 0.2, 0.25, 0.9]
    said = iter([*measures[:3], KeyboardInterrupt])

    def measured(*_: object) -> tuple[float, float]:
        value = next(said)
        if value is KeyboardInterrupt:
            raise KeyboardInterrupt
        return 0.9, value

    monkeypatch.setattr(watch.Watch, "measured", measured)
    with pytest.raises(KeyboardInterrupt):
        _tune(tmp_path, method)
    said = iter(measures[3:])
    path = _tune(tmp_path, method.replace("patience", "save_every=3, patience"))
    assert load_encoder(f"file:{path}").about["history"]["step"] == 6
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 2, 3, 4, 4, 5, 6, 6]


def test_a_broken_row_of_the_log_counts_for_nothing(tmp_path: Path) -> None:
    from brittle.api.watch import COLUMNS, Watch
    from brittle.tuning.parts.recipe import Recipe

    rows = ["0,0,,,1,0.9,0.3", "1,1,,,1,0.9,0.\0\ufffd", "1,1,,,1,0.9,abc", "2,2", ",,,,,,0.9", "2,2,,,1,0.9,0.2"]
    (tmp_path / "log.csv").write_text("\n".join([",".join(COLUMNS), *rows, ""]))
    watch = Watch(tmp_path, Recipe(), 4, {}, None, 0)
    watch.step(3, 0.5, 0.1)
    assert (watch.best, watch.since) == (0.3, 1)


def test_a_preset_is_a_start_and_settings_go_before_it() -> None:
    full, recipe = tuning.split("deacl(preset=cifar, lr=.1, gamma=3)")
    assert full.settings["gamma"] == 3
    assert (recipe["lr"], recipe["epochs"], recipe["optimiser"]) == (0.1, 100, "sgd")


def test_the_preset_of_deacl_is_the_release() -> None:
    """DeACL_cifar10_resnet18.sh, and the defaults of main_pretrain_AdvTraining.py that it leaves alone."""
    from brittle.tuning.parts.recipe import recipe_of

    full, settings = tuning.split("deacl(preset=cifar)")
    recipe = recipe_of(settings)
    assert recipe.epochs == 100  # --max_epochs 100
    assert recipe.optimiser == "sgd"  # --optimizer sgd
    assert recipe.momentum == 0.9  # extra_optimizer_args of sgd
    assert recipe.decay == 5e-4  # --weight_decay 5e-4
    assert recipe.batch == 256  # --batch_size 256
    assert recipe.precision == "32-true"  # --precision 32
    assert recipe.rate(0, 50_000) == pytest.approx(0.003)  # --warmup_start_lr .003
    assert recipe.rate(9 * 195, 50_000) == pytest.approx(0.5)  # --lr .5 x batch / 256, after --warmup_epochs 10
    assert recipe.rate(99 * 195, 50_000) < 2e-4  # --scheduler warmup_cosine --min_lr 0
    assert recipe.augment == "crop"  # RandomCrop(32, padding=4), RandomHorizontalFlip()
    assert recipe.clip == 0
    assert recipe.mode == "train"
    assert full.settings["gamma"] == 2  # --trades_k 2
    assert full.settings["eps"] == 8 / 255  # --epsilon 8
    attack = components.complete("attacks", str(full.settings["attack"]))
    assert attack.settings["steps"] == 5  # --num_steps 5
    assert attack.settings["step"] * 8 == 2  # --step_size 2
    assert attack.settings["random_start"]
    assert (full.settings["tokens"], full.settings["distance"]) == ("cls", "cosine")


def test_the_preset_of_profeat_is_the_release() -> None:
    """train.sh, and the defaults of pretraining.py that it leaves alone."""
    from brittle.tuning.parts.recipe import recipe_of

    full, settings = tuning.split("profeat(preset=cifar)")
    recipe = recipe_of(settings)
    assert (recipe.epochs, recipe.batch) == (100, 256)  # ep=100 bs=256
    assert (recipe.optimiser, recipe.momentum, recipe.decay) == ("sgd", 0.9, 3e-4)  # torch.optim.SGD, wd=3e-4
    assert recipe.rate(0, 50_000) == pytest.approx(0.01)  # warmup_from
    assert recipe.rate(10 * 195, 50_000) == pytest.approx(0.5)  # lr=0.5, after warm_epochs
    assert recipe.rate(99 * 195, 50_000) < 1e-3
    assert (recipe.augment, recipe.mode, recipe.clip) == ("crop", "train", 0)
    assert (full.settings["beta"], full.settings["projected"]) == (8, 0.5)  # beta=8, --w_proj
    assert full.settings["eps"] == 8 / 255  # eps=8
    attack = components.complete("attacks", str(full.settings["attack"]))
    assert attack.settings["steps"] == 5  # iter=5
    assert attack.settings["step"] * 8 == 2  # ss=2
    assert attack.settings["random_start"]


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("deacl(eps=0)", "eps=0"),
        ("deacl(eps=8)", "did you mean 8/255"),
        ("fare(tokens=patch)", "'cls', 'grid' or 'all'"),
        ("fare(attack=pgd)", "follows a head, and this method has none"),
        ("fare(attack='worst(attacks=[embed])')", "asks a head"),
        ("fare(attack=nothing)", "nothing"),
        ("deacl(preset=cifr)", "did you mean 'cifar'"),
        ("deacl(stps=3)", "did you mean 'steps'"),
        ("deacl(tensorboard=perhaps)", "tensorboard=perhaps"),
        ("dacl", "did you mean 'deacl'"),
        ("profeat", "embedded:random has none"),
        ("profeat(projected=2)", "projected=2"),
        ("robustness_tokens(count=0)", "count=0"),
        ("deacl(batch=0)", "batch=0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(method: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why) as error:
        _tune(tmp_path / "none", method)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.*"))


def test_more_snapshots_than_there_is_disk_are_refused(tmp_path: Path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(tuning.shutil, "disk_usage", lambda _: usage(10**9, 0, 300_000_000))
    _tune(tmp_path / "few", METHOD.replace("steps=4", "steps=4, save_every=2"))
    with pytest.raises(UsageError, match=r"1001 snapshots and checkpoints take 1\d\.\d+ GB, and .* has 0.30 GB free"):
        _tune(tmp_path / "many", METHOD.replace("steps=4", "steps=1000, save_every=1"))
    assert not (tmp_path / "many").exists() or not list((tmp_path / "many").iterdir())


@pytest.mark.parametrize("other", ["settings", "seed", "encoder", "no card", "folder"])
def test_a_folder_of_another_tuning_is_refused(tuned: Path, tmp_path: Path, other: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tuned.parent, folder)
    method, seed = METHOD.replace("steps=4", "epochs=2, save_every=1"), 0
    match other:
        case "settings":
            method = method.replace("batch=2", "batch=2, lr=0.1")
        case "seed":
            seed = 1
        case "encoder":
            (folder / "encoder.safetensors").unlink()
            method = method.replace("epochs=2", "epochs=3")
        case "no card":
            save_file({"x": torch.zeros(2)}, folder / "encoder.safetensors")
        case "folder":
            (folder / "encoder.safetensors").unlink()
            (folder / "encoder.safetensors").mkdir()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(UsageError, match=r"safetensors is of another tuning; name another folder") as error:
        _tune(folder, method, seed)
    assert "\n" not in str(error.value)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_two_at_once_in_one_folder_are_refused(tmp_path: Path) -> None:
    with Store(tmp_path).claim("tuning"), pytest.raises(UsageError, match="another tuning is running in .*; wait"):
        _tune(tmp_path)
    assert not list(tmp_path.glob("*.*"))
    assert _tune(tmp_path).is_file()


def test_the_same_tuning_again_is_the_same_file(tuned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tuned.parent, folder)
    again = _tune(folder, METHOD.replace("steps=4", "epochs=2, save_every=1"))
    assert again.read_bytes() == tuned.read_bytes()


def test_a_batch_is_no_larger_than_the_data_and_shared_evenly(tmp_path: Path, capsys) -> None:
    path = _tune(tmp_path / "six", METHOD.replace("steps=4, batch=2", "steps=1, batch=60, accumulate=3"))
    assert cards.card(path)["recipe"]["batch"] == 3
    assert "a batch is of 3 images, not of 60: there are 4" in capsys.readouterr().err
    with pytest.raises(UsageError, match="4 images are not enough for 6 parts of a batch"):
        _tune(tmp_path / "none", METHOD.replace("batch=2", "batch=6, accumulate=6"))


@pytest.mark.parametrize("log", [b"\xa5\x00\xff", b"a,b\n1,2\n", b"step\n\xc2\xb2\n\n", b'step,x\n1,"open\n\x00'])
def test_a_log_that_is_none_is_begun_again(tmp_path: Path, log: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(log)
    _tune(tmp_path, METHOD.replace("steps=4", "steps=2"))
    assert [row["step"] for row in csv.DictReader((tmp_path / "log.csv").open())] == ["1", "2"]


def test_without_labels_there_is_no_supervision_and_no_measure(tmp_path: Path) -> None:
    from PIL import Image

    for part in ("images", "annotations"):
        for split in ("train", "val"):
            (tmp_path / "masks" / part / split).mkdir(parents=True)
            for name in "ab":
                Image.new("L" if part == "annotations" else "RGB", (64, 64)).save(
                    tmp_path / "masks" / part / split / f"{name}.png"
                )
    data = f"folder:{tmp_path / 'masks'}"
    for method, why in (("pgd_at", "supervised by the label"), (METHOD[:-1] + ", probe_every=1)", "needs labels")):
        with pytest.raises(UsageError, match=why):
            finetune(method, "embedded:random", data, output_dir=tmp_path / "out")
