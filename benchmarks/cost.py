"""How an attack's seconds grow with its steps, images, resolution and number of classes, beside those of its floor:
drawn, one panel each, with a line for a task of labels and one for a task of masks.

    python benchmarks/cost.py --plot docs/images/cost.svg --json cost.json

Each panel changes one thing and leaves the others as they are. All points of all panels are timed in turn, ours after
its floor: one forward and one backward to the pixels a step with frozen weights, and nothing else.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from torch import Tensor

from attack import ours
from brittle.types import Batch, Model, frozen
from floors import classifier, floor, loss_of, other
from rounds import ROUNDS, in_turn, ratio, spread, tell

ATTACKS = {"classification": "pgd", "segmentation": "segpgd"}
COLOURS = {"classification": "#2f6fb5", "segmentation": "#b5402f"}
TITLES = {"steps": "steps", "images": "images", "size": "edge of an image in pixels", "classes": "classes"}
FLOOR = "floor"


class Point(NamedTuple):
    """One setting of everything, and which of them it is a point of the panel of."""

    task: str
    axis: str
    steps: int
    images: int
    size: int
    classes: int

    @property
    def value(self) -> int:
        """Where it lies on its panel."""
        return getattr(self, self.axis)

    def name(self, way: str) -> str:
        return f"{self.task}, {self.axis} {self.value}, {way}"


def points(base: Mapping[str, int], axes: Mapping[str, list[int]]) -> list[Point]:
    """All points: of each task and axis, the base with each of the axis's values."""
    return [
        Point(task, axis, **{**base, axis: value})
        for task in ATTACKS
        for axis, values in axes.items()
        for value in values
    ]


def work_of(encoder: str, asked: list[Point]) -> dict[str, Callable[[], Tensor]]:
    """The floor and the attack of each point."""
    made = cache(lambda size, images, task, classes: classifier(encoder.replace("{size}", size), images, task, classes))
    work: dict[str, Callable[[], Tensor]] = {}
    for point in asked:
        model, batch = made(str(point.size), point.images, point.task, point.classes)
        attack = f"{ATTACKS[point.task]}(steps={point.steps})"
        work[point.name(FLOOR)] = partial(bare, model, batch, point.steps)
        work[point.name(attack)] = partial(held, attack, model, batch)
    return work


def bare(model: Model, batch: Batch, steps: int) -> Tensor:
    with frozen(model):
        return floor(loss_of(model, batch), batch.images, steps)


def held(attack: str, model: Model, batch: Batch) -> Tensor:
    with frozen(model):
        return ours(attack, False, "fp32", model, batch)


def rows_of(asked: list[Point], seconds: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """A row for each point: seconds of both as median, low and high, and their ratio."""
    rows: list[dict[str, Any]] = []
    for point in asked:
        names = point.name(f"{ATTACKS[point.task]}(steps={point.steps})"), point.name(FLOOR)
        both = {way: spread(seconds[name])._asdict() for way, name in zip(("seconds", FLOOR), names)}
        rows.append({**point._asdict(), "value": point.value, **both, "over_floor": ratio(seconds, *names)._asdict()})
    return rows


def table(rows: list[dict[str, Any]]) -> None:
    """Print a line for each point."""
    typer.echo(f"{'task':16}{'axis':>9}{'value':>7}{'floor':>10}{'ours':>10}  over the floor")
    for row in rows:
        over = row["over_floor"]
        typer.echo(
            f"{row['task']:16}{row['axis']:>9}{row['value']:7d}{row[FLOOR]['median']:10.3f}"
            f"{row['seconds']['median']:10.3f}  {over['median']:.2f} [{over['low']:.2f}, {over['high']:.2f}]"
        )


def draw(path: Path, rows: list[dict[str, Any]], base: Mapping[str, int], unit: str) -> None:
    """A panel for each axis, both scales logarithmic: ours as a line, the range of rounds around it, its floor
    dashed."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "brittle", "font.size": 9})
    from matplotlib import pyplot as plt

    axes_of = list(dict.fromkeys(row["axis"] for row in rows))
    figure, panels = plt.subplots(1, len(axes_of), figsize=(11, 3), layout="constrained", squeeze=False, sharey=True)
    figure.set_facecolor("white")
    for axis, panel in zip(axes_of, panels[0]):
        places = list(dict.fromkeys(row["value"] for row in rows if row["axis"] == axis))
        for task, attack in ATTACKS.items():
            some = [row for row in rows if (row["axis"], row["task"]) == (axis, task)]
            ours_at = [row["seconds"] for row in some]
            low, high = ([each[name] for each in ours_at] for name in ("low", "high"))
            panel.fill_between(places, low, high, color=COLOURS[task], alpha=0.15, linewidth=0)
            panel.plot(places, [each["median"] for each in ours_at], "o-", color=COLOURS[task], label=attack)
            least = [row[FLOOR]["median"] for row in some]
            panel.plot(places, least, "--", color=COLOURS[task], label=f"{attack}: floor")
        panel.set(xscale="log", yscale="log", xlabel=TITLES[axis], xticks=places, xticklabels=places)
        panel.minorticks_off()
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel(f"seconds{' of CPU' if unit == 'CPU' else ''}")
    panels[0][0].legend(frameon=False, fontsize=8)
    rest = ", ".join(f"{value} {name}" if name != "size" else f"{value} px" for name, value in base.items())
    figure.suptitle(f"Seconds of an attack and of its floor; where a panel says nothing else: {rest}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main(
    encoder: Annotated[
        str, typer.Option(help="Encoder spec, with {size} where its edge stands.")
    ] = "timm:vit_tiny_patch16_224.augreg_in21k(pretrained=false, size={size})",
    steps: Annotated[list[int] | None, typer.Option(help="Steps; the first is what other panels take.")] = None,
    images: Annotated[list[int] | None, typer.Option(help="Images, the same.")] = None,
    size: Annotated[list[int] | None, typer.Option(help="Edges of an image, the same.")] = None,
    classes: Annotated[list[int] | None, typer.Option(help="Numbers of classes, the same.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = ROUNDS,
    plot: Annotated[Path, typer.Option(help="Where to draw, as .svg or .png.")] = Path("docs/images/cost.svg"),
    path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures too.")] = None,
) -> None:
    """Measure, print and draw."""
    asked = {"steps": steps or [5, 1, 2, 10, 20], "images": images or [2, 1, 4, 8]}
    asked |= {"size": size or [112, 64, 160, 224], "classes": classes or [20, 2, 150, 1000]}
    base = {axis: values[0] for axis, values in asked.items()}
    every = points(base, {axis: sorted(values) for axis, values in asked.items()})
    work = work_of(encoder, every)
    next(iter(work.values()))()
    timed = in_turn(work, rounds)
    rows = rows_of(every, timed.seconds)  # type: ignore[arg-type]
    table(rows)
    known = tell(path, encoder=encoder, base=base, attacks=ATTACKS, rows=rows)
    if other("matplotlib"):
        draw(plot, rows, base, known["seconds"])


if __name__ == "__main__":
    typer.run(main)
