"""What the contract tests build: a tiny encoder, a tiny model for each task, and the one table a kind has of what its
components need."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from brittle.api import save_model
from brittle.attacks.parts.run import attacked
from brittle.checks.parts.evidence import Evidence
from brittle.core import components, files
from brittle.evaluation.scoring import Scoring
from brittle.types import Batch, Encoder, Features, Model, Task
from brittle.types.attack_log import AttackLog
from brittle.types.rng import Rng
from brittle.types.target import VOID
from brittle.types.threat import Threat

SIDE = 16


def need(table: Mapping[str, Any], kind: str, name: str) -> Any:
    """A component's entry; without one the contract cannot be shown, so that fails."""
    if name not in table:
        pytest.fail(
            f"{kind}/{name}.py is under no contract test; add {name!r} to {kind.upper()} in tests/contracts/tiny.py"
        )
    return table[name]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- encoders ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EncoderCase:
    """Of an encoder, or of a whole network. ``specs``: two specs of unlike weights, in a temporary folder, or the only
    one; ``odd``: why no odd size, or empty; ``size``: images' edge."""

    specs: Callable[[Path], tuple[str, ...]]
    size: int
    odd: str = ""


def weights_file(folder: Path, seed: int) -> str:
    """The path of an encoder's weights and its card, as a tuning run leaves them."""
    base = f"embedded:random(seed={seed})"
    data = save({key: value.contiguous() for key, value in components.build("encoders", base).state_dict().items()})
    path = folder / f"tuned{seed}" / "encoder.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    path.with_suffix(".json").write_text(
        json.dumps({"base": "embedded:random", "sha256": files.sha256(data)}), encoding="utf8"
    )
    return str(path)


def saved_vit(folder: Path, seed: int) -> str:
    """A folder with a tiny ViT, as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.ViTModel(transformers.ViTConfig(**sizes, initializer_range=0.2)).save_pretrained(
            folder / f"vit{seed}"
        )
    return f"hf:{folder / f'vit{seed}'}(size=32)"


def own_module(folder: Path, channels: int) -> str:
    """A file with a function that returns a module of one's own."""
    path = folder / f"own{channels}.py"
    path.write_text(
        f"from torch import nn\n\ndef mine():\n    return nn.Conv2d(3, {channels}, 8, stride=8)\n", encoding="utf8"
    )
    return f"py:{path}:mine(size=32)"


def tower(folder: Path, seed: int) -> str:
    """A tiny CLIP under a name that open_clip is told, its random weights in a file."""
    library = pytest.importorskip("open_clip")
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    (folder / "tiny-clip.json").write_text(
        json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}), encoding="utf8"
    )
    library.add_model_config(folder / "tiny-clip.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.save(library.create_model("tiny-clip", load_weights=False).state_dict(), folder / f"clip{seed}.pt")
    return f"open_clip:tiny-clip/{folder}/clip{seed}.pt"


ENCODERS = {
    "embedded": EncoderCase(lambda _: ("embedded:random", "embedded:random(seed=1)"), 64),
    "file": EncoderCase(lambda folder: (f"file:{weights_file(folder, 0)}", f"file:{weights_file(folder, 1)}"), 64),
    "hf": EncoderCase(lambda folder: (saved_vit(folder, 0), saved_vit(folder, 1)), 32),
    "open_clip": EncoderCase(lambda folder: (tower(folder, 0), tower(folder, 1)), 32),
    "pixels": EncoderCase(
        lambda _: ("pixels(size=16)", "pixels(size=24)"),
        16,
        "its width is the image's number of values, so it has one size",
    ),
    "py": EncoderCase(lambda folder: (own_module(folder, 6), own_module(folder, 7)), 32),
    "timm": EncoderCase(lambda _: ("timm:test_vit(pretrained=false)", "timm:test_resnet(pretrained=false)"), 160),
}


def saved_classifier(folder: Path, seed: int) -> str:
    """A folder with a tiny ViT for labels and its image processor, as transformers saves them."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    path = folder / f"classifier{seed}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=5, initializer_range=0.2)
        transformers.ViTForImageClassification(config).save_pretrained(path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    return f"hf:{path}"


def saved_pipeline(folder: Path, seed: int) -> str:
    """A head for labels of scenes on an encoder with random weights."""
    path = folder / f"head{seed}.safetensors"
    data = "scenes(train=16, val=8, test=8)"
    return f"file:{save_model(path, f'embedded:random(seed={seed})', data, 'classification')}"


def own_network(folder: Path, outputs: int) -> str:
    """A file of one's own whose function is a network for masks."""
    path = folder / f"network{outputs}.py"
    path.write_text(
        f"import torch\n\n\ndef network(images):\n    steps = torch.linspace(0, 1, {outputs}).view(1, -1, 1, 1)\n"
        "    return -((images.mean(1, keepdim=True) - steps) ** 2)\n"
    )
    return f"py:{path}:network"


MODELS = {
    "embedded": EncoderCase(lambda _: ("embedded:unet",), 64),
    "file": EncoderCase(lambda folder: (saved_pipeline(folder, 0), saved_pipeline(folder, 1)), 64),
    "hf": EncoderCase(lambda folder: (saved_classifier(folder, 0), saved_classifier(folder, 1)), 32),
    "py": EncoderCase(lambda folder: (own_network(folder, 6), own_network(folder, 7)), 32),
    "smp": EncoderCase(
        lambda _: ("smp:unet(backbone=resnet18, outputs=5)", "smp:fpn(backbone=resnet18, outputs=5)"), 64
    ),
    "timm": EncoderCase(
        lambda _: ("timm:test_vit(pretrained=false, size=32)", "timm:test_resnet(pretrained=false, size=32)"), 32
    ),
    "torchvision": EncoderCase(
        lambda _: (
            "torchvision:lraspp_mobilenet_v3_large(weights=none, size=64)",
            "torchvision:resnet18(weights=none, size=64)",
        ),
        64,
    ),
}


class _Tally(torch.autograd.Function):
    """The identity, counting how often it is passed forward and backward."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, tally: dict[str, int]) -> Tensor:
        ctx.tally = tally
        tally["forwards"] += 1
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.tally["backwards"] += 1
        return gradients[0], None


class TinyEncoder(Encoder):
    """Two convolutions to 8 features a patch of 4 pixels; ``tally`` counts its forward and backward passes."""

    def __init__(self) -> None:
        super().__init__(8, 4, size=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3, about={})
        self.network = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1), nn.GELU(), nn.Conv2d(12, 8, 4, stride=4), nn.Dropout(0.5)
        )
        self.tally = {"forwards": 0, "backwards": 0}

    def forward(self, images: Tensor) -> Features:
        return self._at(images, len(self.network))

    def at_layers(self, images: Tensor, indices: Sequence[int], *, norm: bool = False) -> list[Features]:
        return [self._at(images, index) for index in indices]

    def _at(self, images: Tensor, index: int) -> Features:
        grid = self.network[: index + 1 or None](self.normalise(_Tally.apply(images, self.tally)))
        return Features(grid.tanh().mean((2, 3)), grid)

    def attention_at(self, images: Tensor, index: int) -> Tensor:
        tokens = self.at_layer(images, -1).grid.flatten(2)
        return (tokens.transpose(1, 2) @ tokens).softmax(-1)[:, None]


# --- tasks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TaskCase:
    """``target``: a random target of B images, with void places where the kind has them; ``void``: one with nothing
    else, or None; ``perfect``: the prediction that is right everywhere; ``best``: the headline it must get;
    ``outputs``: of the head."""

    outputs: int
    target: Callable[[int], Tensor]
    void: Callable[[int], Tensor] | None
    perfect: Callable[[Tensor], Tensor]
    best: float


def _mask(count: int) -> Tensor:
    mask = torch.randint(0, 4, (count, SIDE, SIDE), generator=generator(1))
    return mask.masked_fill(torch.rand(mask.shape, generator=generator(2)) < 0.2, VOID)


def _depth(count: int) -> Tensor:
    depth = 0.5 + 9 * torch.rand(count, 1, SIDE, SIDE, generator=generator(1))
    return depth.masked_fill(torch.rand(depth.shape, generator=generator(2)) < 0.2, 0.0)


def _units(count: int) -> Tensor:
    return nn.functional.normalize(torch.randn(count, 1, 8, generator=generator(1)), dim=2)


def _one_hot(target: Tensor, classes: int) -> Tensor:
    return 20.0 * nn.functional.one_hot(torch.where(target == VOID, 0, target), classes).movedim(-1, 1).float()


TASKS = {
    "classification": TaskCase(
        5, lambda n: torch.randint(0, 5, (n,), generator=generator(1)), None, lambda t: _one_hot(t, 5), 1.0
    ),
    "segmentation": TaskCase(4, _mask, lambda n: torch.full((n, SIDE, SIDE), VOID), lambda t: _one_hot(t, 4), 1.0),
    "representation": TaskCase(0, _units, None, lambda t: t[:, 0], 0.0),
    "depth": TaskCase(0, _depth, lambda n: torch.zeros(n, 1, SIDE, SIDE), lambda t: torch.where(t > 0, t, 1.0), 0.0),
}


def tiny_model(task_name: str, seed: int = 0) -> Model:
    """Encoder, head and task, all weights random; left in training mode, with dropout, so that an attack must switch it
    off."""
    task: Task = components.build("tasks", task_name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = TinyEncoder()
        head = task.head(encoder.dim, need(TASKS, "tasks", task_name).outputs)
        for parameter in head.parameters():
            nn.init.normal_(parameter, std=0.5)
    return Model(task, head, encoder).train()


def tiny_batch(task_name: str, count: int = 3, void: bool = False) -> Batch:
    """Images that touch 0 and 1, so that the box matters, with a target of the task."""
    images = (torch.rand(count, 3, SIDE, SIDE, generator=generator(3)) * 1.2 - 0.1).clamp(0, 1)
    case = need(TASKS, "tasks", task_name)
    target = case.void(count) if void and case.void else case.target(count)
    return Batch(images, target, tuple(f"picture{i}" for i in range(count)))


SCORED = [name for name in TASKS if name != "representation"]
"""Tasks whose targets are there beforehand; what is measured without any is not checked."""


# --- attacks, objectives, checks --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttackCase:
    """``spec``: a cheap one; ``random``: whether another seed must give another image; ``spares``: whether it may leave
    an image as it is, where nothing is right any more or nothing it does makes it worse; ``joint``: whether images of a
    batch share what is done; ``given``: what must come before a colon, so that no contract is shown here; ``budgets``:
    how many of the usual ones the tiny model must be given to be beaten, for an attack that moves nothing before."""

    spec: str
    random: bool = True
    spares: bool = False
    joint: bool = False
    given: str = ""
    budgets: int = 1


ATTACKS = {
    "autoattack": AttackCase("autoattack(steps=3, queries=10)", random=False, spares=True),
    "apgd": AttackCase("apgd(steps=5)"),
    "cospgd": AttackCase("cospgd(steps=3)"),
    "curve": AttackCase('curve(attack="pgd(steps=3)")'),
    "universal": AttackCase("universal(steps=3)", random=False, joint=True),
    "stored": AttackCase("", given="a folder of kept images: tests/attacks/test_across.py"),
    "warm": AttackCase('warm(attack="pgd(steps=3)", eps=[1/255])', random=False, spares=True),
    "depth_worst": AttackCase("depth_worst(steps=3)", random=False, spares=True),
    "embed_worst": AttackCase("embed_worst(steps=2)", random=False, spares=True),
    "sea": AttackCase("sea(steps=6)", random=False, spares=True),
    "worst": AttackCase("worst(attacks=[pgd(steps=2), embed(steps=2)])", random=False, spares=True),
    "depthpgd": AttackCase("depthpgd(steps=3)"),
    "embed": AttackCase("embed(steps=3)"),
    "fab": AttackCase("fab(steps=5)", random=False, budgets=10),
    "noise": AttackCase("noise"),
    "padam": AttackCase("padam(steps=5)"),
    "pgd": AttackCase("pgd(steps=3)"),
    "segpgd": AttackCase("segpgd(steps=3)"),
    "square": AttackCase("square(queries=60)"),
}

OBJECTIVES = {
    "cosine": ("cosine",),
    "cospgd": ("cospgd",),
    "dlr": ("dlr", "dlr(rank=2)", "dlr(normalised=false)", "dlr(rank=1, normalised=false)"),
    "js": ("js",),
    "kl": ("kl",),
    "l1": ("l1",),
    "log_bias": ("log_bias", "log_bias(direction=down)"),
    "masked_ce": ("masked_ce", "masked_ce(balanced=true)"),
    "mse": ("mse",),
    "silog": ("silog",),
    "targeted": ("targeted", "targeted(rank=2)", "targeted(label=1)"),
    "embedding": (
        "embedding",
        "embedding(distance=cosine)",
        "embedding(tokens=grid)",
        "embedding(tokens=all)",
        "embedding(layer=0)",
        "embedding(layer=1, tokens=all, distance=cosine)",
        "embedding(tokens=attention)",
        "embedding(tokens=attention, layer=0, distance=cosine)",
    ),
    "relations": ("relations", "relations(layer=0)"),
    "segpgd": ("segpgd",),
    "task_loss": ("task_loss",),
}


class Faulty(nn.Module):
    """A head with a fault done to what it predicts."""

    def __init__(self, head: nn.Module, fault: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.head, self.fault = head, fault

    def forward(self, *arguments: object) -> Tensor:
        return self.fault(self.head(*arguments))


class Lossy(Evidence):
    """Evidence of an attack that returns images a little darker than it should."""

    def again(self, *arguments: Any, **settings: Any) -> Tensor:
        return super().again(*arguments, **settings) * 0.999


def evidence(
    task: str = "classification",
    attack: str = "pgd(steps=10)",
    *,
    eps: float = 8 / 255,
    norm: str = "linf",
    count: int = 12,
    void: int = 0,
    fault: Callable[[Tensor], Tensor] | None = None,
    idle: bool = False,
    **changes: Any,
) -> Evidence:
    """What checks see of an attack on a tiny model that is right about every clean image.

    Args:
        void: how many images have nothing to score.
        fault: done to what the model predicts, once the attack is over.
        idle: the attack did nothing.
        changes: of the evidence; ``samples`` are added to those there.
    """
    with torch.no_grad():
        model, batch = tiny_model(task).eval().requires_grad_(False), tiny_batch(task, count)
        case = need(TASKS, "tasks", task)
        predicted = model(batch.images)
        if case.outputs:  # centred, so that every class is somebody's
            middle = predicted.transpose(0, 1).flatten(1).mean(1).view(1, -1, *[1] * (predicted.dim() - 2))
            model = Model(model.task, Faulty(model.head, lambda logits: 10 * (logits - middle)), model.encoder).eval()  # type: ignore[arg-type]
            predicted = model(batch.images)
        target = predicted if case.outputs == 0 else predicted.argmax(1)
        if void:
            target[:void] = case.void(void)
        batch = batch._replace(target=target)
    threat, log = Threat(norm, eps), AttackLog()  # type: ignore[arg-type]
    tally = Scoring(model, threat, count)
    images = attacked(model, attack, batch, threat, Rng(0, batch.ids), precision="fp32", log=log)
    tally.add(batch, log.attacked(batch.images if idle else images))
    made = tally.evidence(components.complete("attacks", attack), 0, "fp32", tally.scores(), full=True)
    changes["samples"] = {**made.samples, **changes.get("samples", {})}
    if fault:
        changes["model"] = Model(model.task, Faulty(model.head, fault), model.encoder).eval()  # type: ignore[arg-type]
    return replace(made, **changes)


def numbers(**values: float) -> dict[str, Any]:
    """Samples with the same values for each of 12 images."""
    return {"samples": {key: np.full(12, value) for key, value in values.items()}}


def headline(exact: float, saved: float) -> dict[str, Any]:
    """The metrics of a number, and of the same images rounded to 8 bit."""
    return {"metrics": {"accuracy": exact}, "metrics_uint8": {"accuracy": saved}}


def _looked_at(verdict: str) -> str:
    return verdict if "square" in components.names("attacks") else "unchecked"


BIG = 0.4  # so much that random noise alone changes what the tiny models say
FIVE = torch.eye(5)
# sound cases and planted faults: the verdict wanted, and the evidence
CHECKS: dict[str, list[tuple[str, Callable[[], Evidence]]]] = {
    "bfloat16": [
        ("ok", evidence),
        *(("ok", lambda task=task: evidence(task, precision="bf16")) for task in SCORED),
        ("ok", lambda: evidence(attack="embed(steps=2)", precision="bf16")),
        ("ok", lambda: evidence(attack="noise", eps=BIG, precision="bf16")),
        ("fail", lambda: evidence(eps=BIG, idle=True, precision="bf16")),
    ],
    "blackbox": [
        (_looked_at("ok"), lambda: evidence(eps=BIG)),
        (_looked_at("fail"), lambda: evidence(eps=BIG, idle=True)),
    ],
    "budget": [
        ("ok", lambda: evidence(**numbers(violation=9e-7))),
        ("fail", lambda: evidence(**numbers(violation=2e-6))),
        ("fail", lambda: evidence(**numbers(violation=float("inf")))),
        ("fail", lambda: evidence(**numbers(violation=float("nan")))),
    ],
    "classes": [
        ("ok", lambda: evidence(attack="apgd(objective=dlr, targets=4, steps=1)")),
        ("ok", lambda: evidence("depth")),
        ("warn", lambda: evidence(attack="apgd(objective=dlr, targets=9, steps=1)")),
        ("warn", lambda: evidence(attack="worst(attacks=[pgd(steps=1), apgd(objective=dlr, targets=9, steps=1)])")),
        ("warn", lambda: evidence(attack="apgd(objective=dlr, steps=1)", fault=lambda logits: logits[:, :2])),
        ("fail", lambda: evidence(fault=lambda logits: logits[:, :1], **numbers(damage=0))),
    ],
    "converged": [
        ("ok", lambda: evidence(**numbers(loss_first=0.0, loss_late=0.9, loss_last=1.0, loss_best=1.0))),
        ("ok", lambda: evidence(**numbers(loss_first=0.0, loss_late=0.5, loss_last=1.0, loss_best=1.0, damage=1))),
        ("warn", lambda: evidence(**numbers(loss_first=0.0, loss_late=0.5, loss_last=1.0, loss_best=1.0, damage=0))),
        ("unchecked", lambda: evidence(attack="noise")),
    ],
    "degenerate": [
        *(("ok", lambda task=task: evidence(task)) for task in SCORED),
        ("fail", lambda: evidence(fault=lambda logits: logits + 1e3 * FIVE[0])),
        ("fail", lambda: evidence(fault=lambda logits: logits * 0 + FIVE[0])),
        ("fail", lambda: evidence("depth", fault=lambda metres: metres * 0 + 5)),
        ("warn", lambda: evidence("depth", images=torch.zeros(6, 3, SIDE, SIDE))),
        ("warn", lambda: evidence(images=torch.zeros(6, 3, SIDE, SIDE))),
    ],
    "embedding": [
        ("ok", lambda: evidence(eps=BIG)),
        ("ok", lambda: evidence(attack="embed(steps=2)")),
        ("fail", lambda: evidence(eps=BIG, idle=True)),
        ("fail", lambda: evidence("depth", eps=BIG, idle=True)),
    ],
    "floor": [
        *(("ok", lambda task=task: evidence(task)) for task in SCORED if task != "segmentation"),
        ("ok", lambda: evidence("segmentation", "segpgd(steps=10)")),
        ("ok", lambda: evidence(norm="l2", eps=0.5)),
        ("ok", lambda: evidence("depth", "embed(steps=5)")),
        (
            "fail",
            lambda: evidence(
                fault=lambda logits: logits * 0 + evidence().batch.target.eq(torch.arange(5)[:, None]).T[: len(logits)]
            ),
        ),
        (
            "fail",
            lambda: evidence("depth", fault=lambda metres: metres * 0 + evidence("depth").batch.target[: len(metres)]),
        ),
        ("unchecked", lambda: evidence(attack="noise")),
    ],
    "gradient": [
        ("ok", evidence),
        ("ok", lambda: evidence(**numbers(flat=0.5, damage=1))),
        ("ok", lambda: evidence(**numbers(flat=0.5, damage=0, aimed=0))),
        ("warn", lambda: evidence(**numbers(flat=0.02, damage=0))),
        ("fail", lambda: evidence(**numbers(flat=0.2, damage=0))),
        ("unchecked", lambda: evidence(attack="noise")),
    ],
    "monotone": [
        ("ok", evidence),
        ("fail", lambda: evidence(eps=2 * BIG, idle=True)),
        ("unchecked", lambda: evidence(attack="noise")),
    ],
    "noise": [
        *(("ok", lambda task=task: evidence(task, eps=BIG)) for task in SCORED),
        ("ok", lambda: evidence(attack="noise", eps=BIG)),
        *(("fail", lambda task=task: evidence(task, eps=BIG, idle=True)) for task in SCORED),
        ("warn", lambda: evidence(eps=0.04, count=6, idle=True)),
    ],
    "nonfinite": [
        ("ok", evidence),
        ("fail", lambda: evidence(fault=lambda logits: logits * float("nan"))),
        ("fail", lambda: evidence("segmentation", fault=lambda logits: logits.masked_fill(logits > 1, float("inf")))),
    ],
    "repeat": [
        *(("ok", lambda task=task: evidence(task)) for task in SCORED),
        ("fail", lambda: evidence(fault=lambda logits: logits + 0.01 * torch.randn_like(logits))),
        ("fail", lambda: evidence(fault=lambda logits: logits - logits.mean(0))),
    ],
    "rounding": [
        ("ok", lambda: evidence(**headline(0.4, 0.43))),
        ("warn", lambda: evidence(**headline(0.2, 0.5))),
        ("warn", lambda: evidence(**headline(0.5, 0.2))),
    ],
    "seeds": [("ok", lambda: evidence(eps=BIG)), ("warn", lambda: evidence(eps=BIG, idle=True))],
    "softmax": [
        *(("ok", lambda task=task: evidence(task)) for task in SCORED),
        ("fail", lambda: evidence(fault=lambda logits: logits.softmax(1))),
        ("fail", lambda: evidence("segmentation", fault=lambda logits: logits.softmax(1))),
    ],
    "start": [
        ("ok", evidence),
        ("ok", lambda: evidence(eps=0.0)),
        (
            "warn",
            lambda: evidence(
                samples={"loss_best": np.arange(12) > 0, "loss_first": np.zeros(12), "damage": np.zeros(12)}
            ),
        ),
        ("fail", lambda: evidence(**numbers(loss_best=1.0, loss_first=1.0, damage=0))),
        (
            "fail",
            lambda: evidence("depth", images=evidence("depth").batch.images, batch=_blurred(evidence("depth").batch)),
        ),
        ("unchecked", lambda: evidence(attack="noise")),
    ],
    "steps": [
        ("ok", lambda: evidence(eps=BIG)),
        ("fail", lambda: evidence(eps=BIG, idle=True)),
        ("unchecked", lambda: evidence(attack="noise")),
    ],
    "zero_eps": [
        ("ok", evidence),
        ("fail", lambda: Lossy(**vars_of(evidence()))),
    ],
}


def vars_of(made: Evidence) -> dict[str, Any]:
    """The fields of some evidence."""
    return {field.name: getattr(made, field.name) for field in fields(made)}


def _blurred(batch: Batch) -> Batch:
    """Clean images that the model is worse about than about those which the targets come from."""
    return batch._replace(images=batch.images.flip(3))
