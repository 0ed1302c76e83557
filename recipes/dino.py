"""Trains the benchmark's own small vision encoder, without labels: DINO with iBOT on images of the procedural renderer.

    python recipes/dino.py --output runs/dino

Drawing 48,128 images takes 2 to 6 minutes; training took 34 on two cores shared with other work; k-NN accuracy 0.982
(chance 0.125). The encoder is timm's VisionTransformer (64 px, patch 8, width 192, depth 6, 3 heads); inputs in [0, 1],
less 0.5, over 0.25.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy
import torch
import typer
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, gelu, grid_sample, linear, normalize, one_hot

from brittle.datasets.parts.render import NUMBERS, SHAPES, compose, render

SIZE, PATCH, WIDTH = 64, 8, 192
# a look's numbers for yaw, camera and framing; the others are light, colours, wall, further solids
POSE = [
    3,
    4,
    6,
    7,
    8,
    9,
    10,
]


@dataclass(frozen=True)
class Recipe:
    """Every number of a run. Lengths are steps, so a run depends on its seed and not on the machine's speed."""

    steps: int = 1840
    seed: int = 0
    batch: int = 48  # solids a step, all views of each
    solids: int = 12_032
    views: int = 4  # renderings of each solid
    twins: int = 2  # of which so many share a pose
    crop_size: tuple[int, int] = (40, SIZE)  # small and quick before the cool-down
    crop_area: tuple[float, float] = (0.75, 1.0)  # over the image's
    jitter: float = 0.1
    hue: float = 0.1  # largest turn of the hues, in half circles
    prototypes: int = 256
    head: tuple[int, int] = (512, 128)  # hidden width, bottleneck
    masked_share: tuple[float, float] = (0.3, 0.6)  # of the images, before and in the cool-down
    mask_ratio: tuple[float, float] = (0.1, 0.5)  # of a masked image's patches
    # steps in which DINO's loss joins in: before, it would teach the noise of random features
    cls_rise: tuple[int, int] = (
        300,
        600,
    )
    weights: tuple[float, float, float, float] = (1.0, 1.0, 0.1, 1.0)  # DINO, iBOT, KoLeo, contrast
    temperature: float = 0.1  # of the student, and of the contrast
    teacher_temperature: tuple[float, float] = (0.04, 0.06)  # at the start, after its warm-up
    temperature_warm_up: int = 1000
    momentum: tuple[float, float] = (0.994, 0.999)  # of the teacher, before the cool-down and at the end
    learning_rate: float = 1e-3
    warm_up: int = 60
    cool_down: int = 500  # last steps: the rate falls to nothing
    weight_decay: float = 0.04
    clip: float = 1.0


def numbers(stream: int, scenes: range) -> Tensor:
    """Uniform numbers [len(scenes), NUMBERS] of scenes no data set holds: its keys have four words, the last not 0,
    these have three."""
    rows = [numpy.random.default_rng([7, stream, scene]).random(NUMBERS, dtype=numpy.float32) for scene in scenes]
    return torch.from_numpy(numpy.stack(rows))


def drawn_pool(path: Path, recipe: Recipe) -> Tensor:
    """Images [solids, views, 3, SIZE, SIZE] as bytes, drawn once and kept at ``path``: each solid seen again elsewhere,
    unlabelled."""
    if not path.exists():
        partial = path.with_suffix(".partial")
        pool = numpy.lib.format.open_memmap(partial, "w+", numpy.uint8, (recipe.solids, recipe.views, 3, SIZE, SIZE))
        for start in range(0, recipe.solids, 64):
            scenes = range(start, min(start + 64, recipe.solids))
            for view in range(recipe.views):
                pose, twin = divmod(view, recipe.twins)
                look = numbers(1 + pose + 10 * twin, scenes)
                # twins share the pose and nothing else, so that matching them takes geometry and colours are no clue
                look[:, POSE] = numbers(1 + pose, scenes)[:, POSE]
                image = render(compose(numbers(0, scenes), look), SIZE).image
                pool[start : scenes.stop, view] = (image * 255).round().to(torch.uint8).numpy()
        pool.flush()
        partial.replace(path)
    return torch.from_numpy(numpy.load(path))


def seen(image: Tensor, size: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Crops of [B,3,H,W], some mirrored, resized to [B,3,size,size], with a little other hues, channel gains, contrast
    and saturation."""
    share, across, down, side = torch.rand(4, len(image), generator=generator)
    edge = (recipe.crop_area[0] + (recipe.crop_area[1] - recipe.crop_area[0]) * share).sqrt()
    rows = [
        edge * (side - 0.5).sign(),
        0 * edge,
        (2 * across - 1) * (1 - edge),
        0 * edge,
        edge,
        (2 * down - 1) * (1 - edge),
    ]
    grid = affine_grid(torch.stack(rows, 1).view(-1, 2, 3), [len(image), 3, size, size], align_corners=False)
    image = grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    # Rodrigues' formula turns colours about the grey axis
    angle = recipe.hue * math.pi * (2 * torch.rand(len(image), 1, 1, generator=generator) - 1)
    axis, cross = (
        torch.full((3, 3), 1 / 3),
        torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3),
    )
    turn = axis + angle.cos() * (torch.eye(3) - axis) + angle.sin() * cross
    gain = 1 + recipe.jitter * (2 * torch.rand(len(image), 3, 1, 1, generator=generator) - 1)
    contrast, saturation = 1 + 2 * recipe.jitter * (2 * torch.rand(2, len(image), 1, 1, 1, generator=generator) - 1)
    image = torch.einsum("bij,bjhw->bihw", turn, image) * gain
    grey = image.mean(1, keepdim=True)
    middle = grey.mean((2, 3), keepdim=True)
    return (middle + contrast * (grey - middle + saturation * (image - grey))).clamp(0, 1)


class Head(nn.Module):
    """[N, WIDTH] to a unit vector [N, bottleneck] and its cosines with prototypes [N, K] (DINO, Caron et al. 2021)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        hidden, bottleneck = recipe.head
        self.first, self.second = nn.Linear(WIDTH, hidden), nn.Linear(hidden, hidden)
        # takes away what all images share, which at first is nearly everything; always by the batch's own statistics
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden, track_running_stats=False) for _ in range(2))
        self.third = nn.Linear(hidden, bottleneck)
        self.prototypes = nn.Parameter(torch.randn(recipe.prototypes, bottleneck))
        for layer in (self.first, self.second, self.third):
            nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        hidden = gelu(self.norms[1](self.second(gelu(self.norms[0](self.first(tokens))))))
        embedded = normalize(self.third(hidden).float(), dim=-1)
        return embedded, linear(embedded, normalize(self.prototypes, dim=-1))


class Branch(nn.Module):
    """Backbone, a head for CLS and one for patches; student and teacher are one each."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.backbone = VisionTransformer(
            img_size=SIZE, patch_size=PATCH, embed_dim=WIDTH, depth=6, num_heads=3, num_classes=0, dynamic_img_size=True
        )
        for block in self.backbone.blocks:
            block.attn.fused_attn = (
                False  # with so few tokens the plain product goes backwards three times as fast on a CPU
            )
        # unit gain, and sines for places: from timm's 0.02 everywhere attention starts flat and long stays so
        for layer in (*self.backbone.blocks.modules(), self.backbone.patch_embed.proj):
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                nn.init.trunc_normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
        angle = torch.arange(SIZE / PATCH)[:, None] * 100.0 ** (-torch.arange(WIDTH // 4) / (WIDTH // 4))
        wave = 0.7 * torch.cat([angle.sin(), angle.cos()], 1)
        self.backbone.pos_embed.data[0, 1:] = torch.cat(
            [wave.repeat_interleave(len(wave), 0), wave.repeat(len(wave), 1)], 1
        )
        self.head = Head(recipe)
        self.patch_head = Head(recipe)
        self.mask_token = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Final-norm tokens [B, 1 + N, WIDTH], CLS first; patches where ``mask`` [B, N] are hidden behind one learnt
        token."""
        vit = self.backbone
        x = vit.patch_embed((image - 0.5) / 0.25)
        if mask is not None:
            x = torch.where(mask.view(*x.shape[:3], 1), self.mask_token.to(x.dtype), x)
        return vit.norm(vit.blocks(vit._pos_embed(x)))


def balanced(cosines: Tensor, temperature: float, rounds: int = 3) -> Tensor:
    """Targets [N, K] that use every prototype alike: Sinkhorn-Knopp (SwAV, Caron et al. 2020; in DINOv2, Oquab et al.
    2023)."""
    q = ((cosines - cosines.max()) / temperature).exp()
    for _ in range(rounds):
        q = q / q.sum(0, keepdim=True).clamp(min=1e-12)
        q = q / q.sum(1, keepdim=True).clamp(min=1e-12)
    return q


def spread(cls: Tensor) -> Tensor:
    """KoLeo (Sablayrolles et al. 2019): minus the mean log distance of rows of ``cls`` [B, WIDTH] to their nearest
    neighbours."""
    x = normalize(cls.float(), dim=-1)
    nearest = (x @ x.T).detach().fill_diagonal_(-1).argmax(1)
    return -((x - x[nearest]).norm(dim=1) + 1e-6).log().mean()


def contrasted(embedded: Tensor, views: int, temperature: float) -> Tensor:
    """Each of [V*B, D] tells the other views of its solid from other solids (SimCLR, Chen et al. 2020), every view of
    it counting."""
    solid = torch.arange(len(embedded) // views).repeat(views)
    itself = torch.eye(len(embedded), dtype=torch.bool)
    same = (solid[:, None] == solid) & ~itself
    return -(embedded @ embedded.T / temperature).masked_fill(itself, -math.inf).log_softmax(1)[same].mean()


def masks(count: int, patches: int, share: float, span: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Which patches the student does not see [count, patches] (iBOT, Zhou et al. 2022): a part in some images, none in
    others."""
    ratio = span[0] + (span[1] - span[0]) * torch.rand(count, 1, generator=generator)
    ratio = ratio * (torch.rand(count, 1, generator=generator) < share)
    return torch.rand(count, patches, generator=generator).argsort(1).argsort(1) < (ratio * patches).round()


def losses(
    student: Branch, teacher: Branch, image: Tensor, step: int, recipe: Recipe, generator: torch.Generator
) -> Tensor:
    """DINO, iBOT, KoLeo and contrast [4]; ``image`` [V*B,3,H,W] is a first view of each of the B solids, then a second
    of each, ..."""
    cooling = step >= recipe.steps - recipe.cool_down
    size = recipe.crop_size[cooling]
    view = seen(image, size, recipe, generator)
    mask = masks(len(view), (size // PATCH) ** 2, recipe.masked_share[cooling], recipe.mask_ratio, generator)
    temperature = float(numpy.interp(step, [0, recipe.temperature_warm_up], recipe.teacher_temperature))
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            tokens = teacher(view)
            target = balanced(teacher.head(tokens[:, 0])[1], temperature)
            patch_target = balanced(teacher.patch_head(tokens[:, 1:][mask])[1], temperature)
        tokens = student(view, mask)
        embedded, guess = student.head(tokens[:, 0])
        patch_guess = student.patch_head(tokens[:, 1:][mask])[1] / recipe.temperature
    # each view answers for the others; the loss is linear in the target, so their mean costs no more than one of them
    total = target.view(recipe.views, -1, recipe.prototypes).sum(0).repeat(recipe.views, 1)
    dino = cross_entropy(guess / recipe.temperature, (total - target) / (recipe.views - 1))
    koleo = torch.stack([spread(part) for part in tokens[:, 0].chunk(recipe.views)]).mean()
    return torch.stack(
        [dino, cross_entropy(patch_guess, patch_target), koleo, contrasted(embedded, recipe.views, recipe.temperature)]
    )


@torch.no_grad()
def neighbours(branch: Branch, image: Tensor, label: Tensor, train: int, k: int = 20) -> float:
    """k-NN accuracy of CLS, the first ``train`` of ``image`` [B,3,H,W] against the rest; labels serve to watch, never
    to train."""
    cls = normalize(torch.cat([branch(part)[:, 0] for part in image.split(128)]), dim=-1)
    value, index = (cls[train:] @ cls[:train].T).topk(k, dim=1)
    votes = ((value / 0.07).exp()[..., None] * one_hot(label[:train][index], len(SHAPES))).sum(1)
    return (votes.argmax(1) == label[train:]).float().mean().item()


def replace_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Whoever reads ``path`` meanwhile sees the old file or the new one, never half of either."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    partial.replace(path)


def export(teacher: Branch, recipe: Recipe, output: Path, figures: dict[str, float]) -> None:
    """The teacher's backbone as ``dino.safetensors`` (fp16, timm's names) with its card ``dino.json``."""
    weights = {name: value.half().contiguous() for name, value in teacher.backbone.state_dict().items()}
    replace_atomically(output / "dino.safetensors", lambda path: save_file(weights, path))
    card = {
        "name": "dino",
        "data": "scenes drawn by brittle's procedural renderer from seeds (7, stream, scene), which no data set of "
        "the benchmark uses",
        "method": "DINO with Sinkhorn-Knopp targets, iBOT masked patches, KoLeo and a contrastive term; the views "
        "of a step are renderings "
        "of one solid in two poses, each with two looks (light, colours, surroundings redrawn), cropped and "
        "jittered; no labels are used",
        **figures,
        "recipe": asdict(recipe),
        "hardware": "CPU, 2 cores",
        "torch": torch.__version__,
        "sha256": hashlib.sha256((output / "dino.safetensors").read_bytes()).hexdigest(),
    }
    replace_atomically(output / "dino.json", lambda path: path.write_text(json.dumps(card, indent=2) + "\n"))


def main(
    output: Annotated[Path, typer.Option()],
    steps: int = Recipe.steps,
    seed: int = Recipe.seed,
    batch: int = Recipe.batch,
) -> None:
    """Train from OUTPUT/checkpoint.pt if there is one, else from the seed; export the teacher every hundred steps."""
    recipe = Recipe(steps=steps, seed=seed, batch=batch)
    output.mkdir(parents=True, exist_ok=True)
    pool = drawn_pool(output / "pool.npy", recipe)
    unit = numbers(0, range(1_000_000, 1_001_536))  # far beyond the training scenes
    watched, label = (
        torch.cat([render(compose(rows), SIZE).image for rows in unit.split(64)]),
        (unit[:, 0] * len(SHAPES)).long(),
    )
    torch.manual_seed(recipe.seed)
    student, teacher = Branch(recipe), Branch(recipe)
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
    matrices, others = [p for p in student.parameters() if p.ndim > 1], [p for p in student.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups)
    state = {"student": student, "teacher": teacher, "optimizer": optimizer}
    start, earlier, checkpoint = 0, 0.0, output / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        start, earlier = saved["step"], saved["seconds"]
        for name, part in state.items():
            part.load_state_dict(saved[name])
    began = last_watch = time.monotonic()
    for step in range(start, recipe.steps):
        # a resumed run draws what an unbroken one does
        generator = torch.Generator().manual_seed(1_000_003 * recipe.seed + step)
        solid = torch.randperm(recipe.solids, generator=generator)[: recipe.batch]
        image = pool[solid].transpose(0, 1).flatten(0, 1).float() / 255
        cooling = 1 - min(1.0, (recipe.steps - step) / recipe.cool_down)  # all that depends on the run's length
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (step + 1) / recipe.warm_up, 1 - cooling)
        parts = losses(student, teacher, image, step, recipe, generator)
        risen = (step - recipe.cls_rise[0]) / (recipe.cls_rise[1] - recipe.cls_rise[0])
        weights = torch.tensor(recipe.weights) * torch.tensor([min(1.0, max(0.0, risen)), 1, 1, 1])
        optimizer.zero_grad()
        (weights * parts).sum().backward()
        nn.utils.clip_grad_norm_(student.parameters(), recipe.clip)
        optimizer.step()
        momentum = recipe.momentum[0] + (recipe.momentum[1] - recipe.momentum[0]) * cooling
        with torch.no_grad():
            torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)
        done, now = step + 1, time.monotonic()
        if done % 100 == 0 or done == recipe.steps:
            accuracy, images, seconds = (
                neighbours(teacher, watched, label, 1024),
                done * recipe.batch * recipe.views,
                earlier + now - began,
            )
            figures = {
                "step": done,
                "images seen": images,
                "wall seconds": round(seconds),
                "k-NN accuracy": round(accuracy, 4),
            }
            export(teacher, recipe, output, figures)
            saved = {name: part.state_dict() for name, part in state.items()} | {"step": done, "seconds": seconds}
            replace_atomically(checkpoint, lambda path: torch.save(saved, path))
            values = " ".join(f"{x:.2f}" for x in [*parts.tolist(), math.log(recipe.prototypes)])
            pace = (now - last_watch) / ((done - start) % 100 or 100)
            speed = f"{images / done / pace:.0f} images/s, {pace * (steps - done) / 60:.0f} min to go"
            print(f"step {done}, DINO, iBOT, KoLeo, contrast, ln K: {values}, k-NN {accuracy:.3f}, {speed}", flush=True)
            last_watch = time.monotonic()


if __name__ == "__main__":
    typer.run(main)
