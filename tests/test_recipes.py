"""Every recipe of CONTRIBUTING.md: its file is added beside the package and used as the text says; objects too."""

import importlib
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import brittle as package
from brittle.core import components
from brittle.core.errors import BrittleError, UsageError
from brittle.core.records import Result
from brittle.core.traits import AttackTraits, ObjectiveTraits
from brittle.core.tree import tree
from brittle.tasks.segmentation import Segmentation
from brittle.types import Batch, Model

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf8")
FILES = dict(re.findall(r"```python\n# ([a-z_]+/[a-z_]+\.py)\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = {
    place: shlex.split(command[1])[1:]
    for section in TEXT.split("\n## ")
    for place in re.findall(r"```python\n# ([a-z_]+/[a-z_]+\.py)\n", section)
    if (command := re.search(r"```sh\n(.*?)```", section, re.DOTALL))
}
SMALL = "scenes(train=64, val=32, test=32, size=8)"
Brittle = Callable[..., tuple[int, str, str]]


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], list[str]]]:
    """Add the file of a recipe in a folder of its own; gives the arguments of the command under it."""

    def add(place: str) -> list[str]:
        kind, _, file = place.partition("/")
        folder = tmp_path / "more" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(FILES[place], encoding="utf8")
        parent = importlib.import_module(f"brittle.{kind}")
        monkeypatch.setattr(parent, "__path__", [*parent.__path__, str(folder)])
        components.names.cache_clear()
        return COMMANDS.get(place, [])

    yield add
    components.names.cache_clear()


@pytest.fixture
def run(quick: None, brittle: Brittle, tmp_path: Path) -> Callable[..., tuple[list[Result], str]]:
    """Run a command of a recipe; gives the results of its run folder and what it said."""

    def go(*arguments: str) -> tuple[list[Result], str]:
        folder = tmp_path / "run"
        code, out, err = brittle(*arguments, "--output-dir", folder)
        assert code == 0, err
        return package.read_run(folder), out + err

    return go


def test_every_recipe_is_here() -> None:
    kinds = {place.partition("/")[0] for place in FILES}
    assert kinds == set(components.KINDS)
    source = Path(__file__).read_text(encoding="utf8")
    assert all(f'"{place}"' in source for place in FILES)


def test_an_attack_on_the_encoder_alone(added, run, tmp_path: Path) -> None:
    results, _ = run(*added("attacks/nudge.py"))
    assert {result.sees for result in results if result.cell.attack == "nudge"} == {"encoder"}
    assert all(result.failed is None for result in results)
    report = (tmp_path / "run" / "report" / "report.md").read_text(encoding="utf8")
    assert "transfer ratio" in report.splitlines()[0]
    assert re.search(r"\| \d\.\d\d \|$", report, re.MULTILINE), "the column holds a number"


def test_a_second_task_with_masks_takes_the_attacks_on_masks(added, run) -> None:
    results, _ = run(*added("tasks/layout.py"))
    assert [result.cell.attack for result in results] == [None, "segpgd(steps=2)", "sea(steps=2)"]
    assert all(result.failed is None and result.task["headline"] == "aacc" for result in results)
    assert results[2].metrics["aacc"] <= results[0].metrics["aacc"]


def test_a_task_with_a_kind_of_target_of_its_own(added) -> None:
    added("tasks/normals.py")
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    normals = nn.functional.normalize(torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    model = nn.Conv2d(3, 3, 1)
    moved = package.attack(model, images, normals, task="normals", attack="pgd(steps=5)")
    similar = [nn.functional.cosine_similarity(model(each), normals, dim=1).mean() for each in (images, moved)]
    assert similar[1] < similar[0]
    with pytest.raises(UsageError, match=r"normals are \[3, 8, 8, 3\]; they must be \[B,3,H,W\]"):
        package.attack(model, images, normals.movedim(1, -1), task="normals")
    with pytest.raises(UsageError, match="needs a target: normals"):
        package.attack(model, images, task="normals")
    with pytest.raises(UsageError, match="'segpgd' needs classes per pixel"):
        package.attack(model, images, normals, task="normals", attack="segpgd")
    target = components.build("tasks", "normals").target
    with pytest.raises(UsageError, match="not of length 1"):
        target.inspect(2 * normals[0], (8, 8), 0, "an image")


def test_a_supervised_tuning_method_gets_labels(added, brittle: Brittle, tmp_path: Path, monkeypatch) -> None:
    command = added("tuning/supervised.py")
    seen: list[Batch] = []
    source = importlib.import_module("brittle.tuning.parts.source")
    real = source.collated
    monkeypatch.setattr(source, "collated", lambda items: seen.append(real(items)) or seen[-1])
    code, out, err = brittle(*command, "--output-dir", tmp_path / "tuned")
    assert code == 0, err
    assert len(seen) == 2
    data = package.load_dataset(command[command.index("-d") + 1], "train")
    labels = {name: int(data[place].targets["label"]) for place, name in enumerate(data.ids)}
    assert all(batch.target.tolist() == [labels[name.split("@")[0]] for name in batch.ids] for batch in seen)
    assert package.load_encoder(f"file:{out.strip()}").dim == 192
    seen.clear()
    unlabelled = ("finetune", "deacl(steps=1)", *command[2:6], "--batch-size", "8", "--output-dir", tmp_path / "deacl")
    code, _, err = brittle(*unlabelled)
    assert code == 0, err
    assert [tuple(batch.target.shape) for batch in seen] == [(8, 0)], "a method without labels gets none"
    code, _, err = brittle(
        "finetune", "supervised", *command[2:4], "-d", _masks(tmp_path), "--output-dir", tmp_path / "no"
    )
    assert code == 2
    assert "label" in err


def _masks(folder: Path) -> str:
    """A data set without labels."""
    from PIL import Image

    for part in ("images", "annotations"):
        for split in ("train", "val"):
            (folder / "masks" / part / split).mkdir(parents=True)
            for i in range(12):
                Image.new("RGB" if part == "images" else "L", (16, 16)).save(
                    folder / "masks" / part / split / f"{i}.png"
                )
    return f"folder:{folder / 'masks'}"


def test_a_launcher(added, run) -> None:
    results, said = run(*added("launch/backwards.py"))
    assert len(results) == 2
    assert said.index("[2/2]") < said.index("[1/2]")


def test_a_report(added, run, brittle: Brittle, tmp_path: Path) -> None:
    added("reports/count.py")
    run("run", "-e", "pixels(size=8)", "-d", SMALL, "-a", "noise", "--limit", "8")
    code, out, _ = brittle("report", tmp_path / "run", "--format", "count")
    assert (code, out.split("\n")[:3]) == (0, ["classification: 2", "depth: 2", "segmentation: 2"])


def test_a_data_set(added, run) -> None:
    results, _ = run(*added("datasets/stripes.py"))
    assert [result.cell.dataset for result in results] == ["stripes"] * 2
    assert results[0].made_by["data_licence"] == "Apache-2.0"


def test_an_encoder(added, run) -> None:
    results, _ = run(*added("encoders/blocks.py"))
    assert {result.cell.encoder for result in results} == {"blocks(seed=1)"}
    assert results[1].metrics["accuracy"] <= results[0].metrics["accuracy"]


def test_a_whole_network(added, run, brittle) -> None:
    command = added("models/grey.py")
    results, _ = run(*command)
    assert {result.cell.encoder for result in results} == {"model:grey"}
    assert [result.failed for result in results] == [None, None]
    assert results[1].metrics["miou"] <= results[0].metrics["miou"]
    assert "classes by number, as the network names none" in results[0].made_by["protocol"]
    code, _, err = brittle(*[word.replace("grey", "grey(steps=9)") for word in command])
    assert code == 2
    assert "has 9 outputs, and 10 classes is wanted" in err


def test_a_check(added, run) -> None:
    results, said = run(*added("checks/plenty.py"))
    (finding,) = [finding for finding in results[1].findings if finding.name == "plenty"]
    assert (finding.verdict, finding.value) == ("warn", 8.0)
    assert "plenty" in said


def test_an_objective(added, run) -> None:
    results, said = run(*added("objectives/confidence.py"))
    assert {result.cell.task for result in results if result.cell.attack} == {"classification", "segmentation"}
    assert "'confidence' needs classes; depth predicts metres per pixel" in said


# --- Python objects ---------------------------------------------------------------------------------------------------


def darker(_model: Model, batch: Batch, threat, _rng) -> Tensor:
    """An attack of one's own."""
    return (batch.images - threat.eps).clamp(0, 1)


darker.TRAITS = AttackTraits(sees="nothing")  # type: ignore[attr-defined]


def red(_model: Model, _batch: Batch) -> Callable[[Tensor, float], Tensor]:
    """An objective of one's own."""
    return lambda images, _progress: images[:, 0].mean((1, 2))


red.TRAITS = ObjectiveTraits(sees="nothing")  # type: ignore[attr-defined]


class Own(nn.Module):
    """An encoder of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 8
        self.network = nn.Conv2d(3, 6, 4, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


class Coarse(Segmentation):
    """A task of one's own."""

    name, headline = "coarse", "aacc"


def test_an_attack_and_an_objective_may_be_functions() -> None:
    images, labels = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    found = package.attack(model, images, labels, attack=darker)
    assert torch.equal(found, (images - 8 / 255).clamp(0, 1))
    assert torch.equal(package.attack(model, images, attack=darker), found), "what sees nothing needs no target"
    climbed = package.attack(model, images, labels, attack="pgd(steps=30)", objective=red)
    torch.testing.assert_close(climbed[:, 0], (images[:, 0] + 8 / 255).clamp(max=1))
    with pytest.raises(UsageError, match="has no objective to set"):
        package.attack(model, images, labels, attack="fab", objective=red)
    with pytest.raises(UsageError, match="the attack is 7; give a spec or a callable"):
        package.attack(model, images, labels, attack=7)  # type: ignore[arg-type]
    assert {finding.name for finding in package.check(model, images, labels, attack=darker)} > {"budget", "noise"}


def test_an_attack_may_write_into_its_images() -> None:
    images, labels = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
    model, clean = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), images.clone()

    def größer(_model: Model, batch: Batch, threat, _rng) -> Tensor:
        return batch.images.add_(threat.eps).clamp_(0, 1)

    found = package.attack(model, images, labels, attack=größer)
    assert torch.equal(found, (clean + 8 / 255).clamp(0, 1))
    assert torch.equal(images, clean)
    [shift] = [each for each in package.check(model, images, labels, attack=größer) if each.name == "budget"]
    assert shift.verdict == "ok"
    assert torch.equal(images, clean)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda images: None, "returned a NoneType"),
        (lambda images: images[:1], r"float32 \[1, 3, 8, 8\]; it must return"),
    ],
)
def test_an_attack_that_returns_no_images_says_so(returned: Callable[[Tensor], Any], words: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(BrittleError, match=words):
        package.attack(model, torch.rand(2, 3, 8, 8), [0, 1], attack=lambda _model, batch, *_: returned(batch.images))


@pytest.mark.parametrize("value", [float("nan"), 0.5])
def test_an_attack_that_leaves_the_threat_gives_no_images(value: float) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(BrittleError, match="left the threat by"):
        package.attack(model, torch.zeros(2, 3, 8, 8), [0, 1], attack=lambda _model, batch, *_: batch.images + value)


def test_nothing_is_kept_of_an_object() -> None:
    images, labels = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
    package.attack(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), images, labels, attack=darker)
    assert not components._handed_over
    assert not [name for name in components.names("attacks") if name.startswith("darker")]


@pytest.mark.usefixtures("quick")
def test_a_run_takes_objects(tmp_path: Path) -> None:
    own = Own()
    before = {key: value.clone() for key, value in own.state_dict().items()}
    words = {
        "datasets": [SMALL],
        "tasks": [Coarse(), "classification"],
        "attacks": [darker, "segpgd(steps=1)"],
        "limit": 8,
    }
    results = package.run([own], output_dir=tmp_path, checks="none", **words)  # type: ignore[arg-type]
    assert all(result.failed is None for result in results), [result.failed for result in results]
    assert len(results) == 5
    assert own.training
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())
    again = package.run([own], output_dir=tmp_path, checks="none", **words)  # type: ignore[arg-type]
    assert not {result.id for result in again} & {result.id for result in results}, "what it computes may be another"
    assert [result.metrics for result in again] == [result.metrics for result in results]
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf8"))
    assert {row["sees"] for row in report} == {"", "nothing", "head"}
    with torch.no_grad():
        own.network.weight.mul_(2)
    changed = package.run([own], output_dir=tmp_path, checks="none", **words)  # type: ignore[arg-type]
    assert not {result.id for result in changed} & {result.id for result in results}, "other weights, other cells"


@pytest.mark.parametrize("text", ["pgd(objective=embedding)", "curve(attack='embed(steps=2)')", "embed"])
def test_whatever_climbs_an_embedding_needs_no_target(text: str) -> None:
    """One walker says so for every spec: there were seven, and they disagreed."""
    part = tree("attacks", text)
    assert (part.sees, part.headless) == ("encoder", True)
    encoder = package.load_encoder("pixels(size=8)")
    images = torch.rand(2, 3, 8, 8)
    assert not torch.equal(package.attack(encoder, images, attack=text), images)
