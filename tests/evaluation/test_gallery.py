"""The pictures of an attacked cell: the right images are chosen and drawn as they are, memory does not grow, and no
number changes."""

import base64
import io
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from brittle.core.pictures import ROLES, Picture
from brittle.core.records import Cell
from brittle.evaluation import drawing
from brittle.evaluation.gallery import ENDS, SAMPLE, Gallery
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import measure
from brittle.planning.identity import task_of
from brittle.reports.parts import shots
from brittle.types import Batch, Encoder, Features, Model, Task
from brittle.types.target import VOID

pytestmark = pytest.mark.usefixtures("quick")
Cells = Callable[..., Cell]
DRAWN = {
    "classification": set[str](),
    "segmentation": {"truth", "before", "after"},
    "depth": {"truth", "before", "after"},
    "representation": set[str](),
}


class Toy(Encoder):
    """Cells of ``patch`` pixels: their mean colours, mixed to ``dim`` features."""

    def __init__(self, patch: int = 2, dim: int = 5) -> None:
        super().__init__(dim, patch, size=8, mean=(0.0,) * 3, std=(1.0,) * 3, about={})
        self.mix = nn.Parameter(torch.randn(dim, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Features:
        cells = nn.functional.avg_pool2d(self.normalise(images), self.patch, ceil_mode=True)
        grid = torch.einsum("dc,bcij->bdij", self.mix, cells)
        return Features(grid.mean((2, 3)), grid)


def toy(task: str = "classification", outputs: int = 3, *, window: int = 0, patch: int = 2) -> Model:
    encoder, made = Toy(patch), task_of(task)
    torch.manual_seed(1)
    head = made.head(encoder.dim, outputs)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return Model(made, head, encoder, window=window, stride=window).eval()


def target_of(task: Task, size: Sequence[int], count: int = 1) -> Tensor:
    match task.name:
        case "classification":
            return torch.arange(count) % 3
        case "segmentation":
            target = torch.arange(size[0] * size[1]).reshape(*size).expand(count, -1, -1) % 3
            return torch.where(torch.arange(size[1]) == 0, VOID, target)
        case _:
            target = torch.linspace(0.5, 9, size[0] * size[1]).reshape(1, *size).repeat(count, 1, 1, 1)
            target[..., 0] = 0
            return target


def shown(model: Model, size: Sequence[int] = (8, 8)) -> tuple[Batch, Tensor, Picture]:
    """One image, what it was turned into, and its picture."""
    draw = torch.Generator().manual_seed(2)
    clean = torch.rand(1, 3, *size, generator=draw) * 0.8 + 0.1
    attacked = clean + (torch.rand(clean.shape, generator=draw) - 0.5) / 10
    batch = Batch(clean, target_of(model.task, size), ["one"])
    gallery = Gallery(model, 1)
    gallery.add(batch, attacked, torch.tensor([1.0]))
    (picture,) = gallery.pictures(["left", "right", "above"])
    return batch, attacked, picture


def pixels(text: str) -> np.ndarray:
    """[H,W,3] of a drawing."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def rgb(colour: str) -> list[int]:
    return list(bytes.fromhex(colour.removeprefix("#")))


# --- which images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kinds", [2, 1000])
def test_the_images_are_those_of_a_search_through_all(seed: int, kinds: int) -> None:
    """Whatever the batches: the most and the least damaged, of equals those whose loss rose most and least, and the one
    nearest to the median of the sample; an image with nothing to score is none of them."""
    draw, model, total = random.Random(seed), toy(), 50
    damage = [float("nan") if draw.random() < 0.1 else draw.randrange(kinds) / kinds for _ in range(total)]
    torch.manual_seed(seed)
    clean = torch.rand(total, 3, 4, 4)
    attacked = torch.rand(total, 3, 4, 4)
    target = torch.arange(total) % 3
    gallery, begin = Gallery(model, total), 0
    while begin < total:
        end = min(begin + draw.randint(1, 9), total)
        batch = Batch(clean[begin:end], target[begin:end], [str(place) for place in range(begin, end)])
        gallery.add(batch, attacked[begin:end], torch.tensor(damage[begin:end], dtype=torch.float64))
        begin = end
    chosen = gallery.chosen()
    known = [value for value in damage if value == value]
    with torch.no_grad():
        losses = [nn.functional.cross_entropy(model(each), target, reduction="none") for each in (clean, attacked)]
    rise = (losses[1] - losses[0]).tolist()

    def first(value: float) -> list[int]:
        return [place for place, each in enumerate(damage) if each == value][:ENDS]

    assert chosen["worst"].place == max(first(max(known)), key=lambda place: rise[place])
    assert chosen["least"].place == min(first(min(known)), key=lambda place: rise[place])
    typical = chosen["typical"]
    apart = {held.place for held in gallery.held[-SAMPLE:]} - {chosen["worst"].place, chosen["least"].place}
    middle = float(np.median(known))
    assert abs(typical.damage - middle) == min(abs(damage[place] - middle) for place in apart)
    assert len({held.place for held in chosen.values()}) == 3
    for held in chosen.values():
        assert held.damage == damage[held.place]
        assert torch.equal(held.batch.images[0], clean[held.place])
        assert torch.equal(held.attacked[0], attacked[held.place])
        assert held.batch.ids == [str(held.place)]


def test_the_sample_is_spread_over_all_and_nothing_grows_with_them() -> None:
    model, damage = toy(), torch.rand(64)
    sizes: list[int] = []
    for total in (640, 2560):
        gallery = Gallery(model, total)
        for begin in range(0, total, 64):
            images = torch.rand(64, 3, 4, 4)
            batch = Batch(images, torch.zeros(64, dtype=torch.long), [str(begin + row) for row in range(64)])
            gallery.add(batch, images, damage + begin)  # each batch is worse than those before
        tensors = [each for held in gallery.held for each in (held.batch.images, held.attacked, held.batch.target)]
        sizes.append(sum(each.untyped_storage().nbytes() for each in tensors))
        assert len(gallery.held) == SAMPLE + 2 * ENDS
        assert [held.place for held in gallery.held[-SAMPLE:]] == [total // SAMPLE * place for place in range(SAMPLE)]
    assert sizes[0] == sizes[1] == (SAMPLE + 2 * ENDS) * (2 * 3 * 16 * 4 + 8), "no view of a batch keeps it alive"


def test_of_large_images_fewer_are_held() -> None:
    gallery = Gallery(toy(), 40)
    large = torch.zeros(1, 3, 1024, 2048)
    for place in range(40):
        gallery.add(Batch(large, torch.zeros(1, dtype=torch.long), [str(place)]), large, torch.tensor([float(place)]))
    assert len(gallery.held) <= 4


def test_one_image_is_shown_once_and_none_where_nothing_can_be_scored() -> None:
    assert shown(toy())[2].role == "worst"
    gallery = Gallery(toy(), 1)
    image = torch.zeros(1, 3, 4, 4)
    gallery.add(Batch(image, torch.zeros(1, dtype=torch.long), ["x"]), image, torch.tensor([torch.nan]))
    assert gallery.pictures([]) == []


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_images_and_perturbation_are_drawn_as_they_are() -> None:
    batch, attacked, picture = shown(toy())
    for name, image in (("clean", batch.images[0]), ("attacked", attacked[0])):
        assert np.array_equal(pixels(picture.drawings[name]), (255 * image).round().numpy().transpose(1, 2, 0))
    delta = (attacked - batch.images)[0].double()
    assert picture.factor == int(0.5 / delta.abs().max())
    wanted = (255 * (0.5 + picture.factor * delta)).numpy().transpose(1, 2, 0)
    assert np.abs(pixels(picture.drawings["change"]) - wanted).max() <= 0.51
    assert drawing.change(batch.images[0], batch.images[0])[1] == 1, "nothing was done"
    assert drawing.change(batch.images[0] * 0, batch.images[0] * 0 + 8 / 255)[1] == 15


def test_classes_of_an_image_are_said_with_their_probabilities() -> None:
    model = toy()
    batch, attacked, picture = shown(model)
    with torch.no_grad():
        shares = [model(each).softmax(1)[0] for each in (batch.images, attacked)]
    names = ["left", "right", "above"]
    assert picture.kind == "label"
    assert picture.labels == ("left", *(names[int(each.argmax())] for each in shares))
    assert picture.shares == pytest.approx([float(each.max()) for each in shares])
    assert shots.said(picture) == (
        f"{picture.labels[1]} {100 * picture.shares[0]:.0f} % → {picture.labels[2]} {100 * picture.shares[1]:.0f} %"
    )


@pytest.mark.parametrize(("size", "window"), [((8, 8), 0), ((7, 10), 0), ((12, 9), 6)])
def test_masks_have_the_colours_of_their_legend(size: tuple[int, int], window: int) -> None:
    model = toy("segmentation", window=window)
    batch, attacked, picture = shown(model, size)
    with torch.no_grad():
        guesses = [model(each).argmax(1)[0] for each in (batch.images, attacked)]
    colours = dict(picture.legend)
    grey = 255 * batch.images[0].mean(0)
    for name, mask in zip(("truth", "before", "after"), (batch.target[0], *guesses)):
        found = pixels(picture.drawings[name]).astype(float)
        assert found.shape == (*size, 3)
        for place, title in enumerate(("left", "right", "above")):
            here = (mask == place).numpy()
            wanted = 0.65 * np.array(rgb(colours.get(title, "#000000"))) + 0.35 * grey.numpy()[here][:, None]
            assert np.abs(found[here] - wanted).max(initial=0) <= 0.51
        void = (mask < 0).numpy()
        assert void.any() == (name == "truth")
        assert np.abs(found[void] - 0.5 * grey.numpy()[void][:, None]).max(initial=0) <= 0.51
    valid = batch.target[0] >= 0
    wrong = [float((each != batch.target[0])[valid].float().mean()) for each in guesses]
    assert picture.damage == pytest.approx(wrong)
    assert shots.said(picture) == f"wrong pixels {100 * wrong[0]:.0f} % → {100 * wrong[1]:.0f} %"


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_targets_of_another_size_than_the_image_are_drawn(task: str) -> None:
    """As those that are scored at the size of the file, where the encoder sees a smaller image."""
    model = toy(task, 1 if task == "depth" else 3)
    batch, attacked, _ = shown(model)
    gallery = Gallery(model, 1)
    gallery.add(batch._replace(target=target_of(model.task, (19, 23))), attacked, torch.zeros(1))
    (picture,) = gallery.pictures(["left", "right", "above"])
    assert set(picture.drawings) >= {"truth", "before", "after"}
    if task == "segmentation":
        assert pixels(picture.drawings["truth"]).shape == (8, 8, 3)


def test_a_mask_of_twice_the_size_is_drawn_as_the_mask() -> None:
    mask, image = torch.tensor([[0, 1], [VOID, 2]]), torch.rand(3, 2, 2)
    assert drawing.classes(mask.repeat_interleave(2, 0).repeat_interleave(2, 1), image) == drawing.classes(mask, image)


def test_colours_of_classes_differ() -> None:
    first = [np.array(rgb(drawing.colour(place))) for place in range(24)]
    apart = [np.abs(a - b).max() for i, a in enumerate(first) for b in first[:i]]
    assert min(apart) > 25
    assert len(rgb(drawing.colour(1000))) == 3


def test_metres_are_one_scale_from_dark_to_bright() -> None:
    model = toy("depth")
    batch, attacked, picture = shown(model)
    with torch.no_grad():
        guesses = [model(each)[0, 0] for each in (batch.images, attacked)]
    truth = batch.target[0, 0]
    every = torch.cat([truth[truth > 0], *(each.flatten() for each in guesses)])
    assert picture.ends == pytest.approx([float(every.min()), float(every.max())])
    stops = np.array([rgb(each) for each in drawing.METRES], dtype=float)
    for name, depth in zip(("truth", "before", "after"), (truth, *guesses)):
        found = pixels(picture.drawings[name])
        at = ((depth - every.min()) / (every.max() - every.min())).numpy() * (len(stops) - 1)
        wanted = np.stack([np.interp(at, range(len(stops)), stops[:, part]) for part in range(3)], 2)
        wanted[(depth == 0).numpy()] = 0
        assert np.abs(found - wanted).max() <= 0.6
    assert shots.said(picture) == f"error {picture.damage[0]:.2f} m → {picture.damage[1]:.2f} m"
    errors = [float((each - truth)[truth > 0].square().mean().sqrt()) for each in guesses]
    assert picture.damage == pytest.approx(errors, rel=1e-4)


@pytest.mark.parametrize(("size", "window"), [((8, 8), 0), ((7, 10), 0), ((12, 8), 4)])
def test_tokens_are_shown_in_the_clean_ones_principal_components(size: tuple[int, int], window: int) -> None:
    """By eigenvectors of the covariance, cell by cell."""
    model = toy("segmentation", window=window)
    batch, attacked, picture = shown(model, size)
    with torch.no_grad():
        grids = [model.encode(each).grid[0].double().numpy() for each in (batch.images, attacked)]
    clean = grids[0].reshape(5, -1).T
    values, vectors = np.linalg.eigh(np.cov(clean.T))
    basis = vectors[:, values.argsort()[::-1][:3]]
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), range(3)])
    projected = (clean - clean.mean(0)) @ basis
    low, high = np.quantile(projected, [0.02, 0.98], axis=0)
    for name, grid in zip(("tokens", "tokens_attacked"), grids):
        three = ((grid.reshape(5, -1).T - clean.mean(0)) @ basis - low) / (high - low)
        wanted = 255 * three.clip(0, 1).reshape(*grid.shape[1:], 3)
        whole = wanted.repeat(2, 0).repeat(2, 1)[: size[0], : size[1]]
        assert np.abs(pixels(picture.drawings[name]) - whole).max() <= 0.51


def test_an_encoder_without_a_grid_worth_showing_has_no_tokens() -> None:
    assert "tokens" not in shown(toy(patch=8))[2].drawings


def test_large_images_are_made_smaller() -> None:
    _, _, picture = shown(toy("segmentation", patch=100), (300, 600))
    assert picture.edge == drawing.EDGE
    assert {pixels(text).shape for text in picture.drawings.values()} == {(112, 224, 3)}


# --- in a cell --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", DRAWN)
def test_each_task_is_drawn_by_what_it_predicts(cell_of: Cells, task: str) -> None:
    result, _, pictures = measure(cell_of("pgd(steps=1)", task), Machine(batch_size=8, keep=True), "none")
    assert [picture.role for picture in pictures] == list(ROLES)
    for picture in pictures:
        assert set(picture.drawings) - {"tokens", "tokens_attacked"} == {"clean", "attacked", "change"} | DRAWN[task]
        assert picture.factor == 15
        assert Picture.from_dict(picture.to_dict()) == picture
        assert [tile.title for tile in shots.shot(picture).tiles][0] == "image"
    assert bool(pictures[0].kind) == (task != "representation")
    assert measure(cell_of(None, task), Machine(batch_size=8), "none")[2] == []
    assert result.images == 16


@pytest.mark.parametrize("task", ["classification", "segmentation", "depth"])
def test_pictures_change_no_bit_and_cost_nothing_where_they_fail(
    cell_of: Cells, task: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cell = cell_of("pgd(steps=2)", task)
    machine = Machine(batch_size=5)

    def numbers(result: object, samples: bytes) -> Mapping[str, object]:
        data = {key: value for key, value in result.to_dict().items() if key != "cost"}  # type: ignore[attr-defined]
        passes = {key: value for key, value in result.cost.items() if key.endswith("wards")}  # type: ignore[attr-defined]
        return {**data, **passes, "samples": samples}

    shown, first, pictures = measure(cell, machine)
    assert pictures

    def broken(*_arguments: object) -> None:
        raise RuntimeError("no brush")

    monkeypatch.setattr(Gallery, "pictures", broken)
    capfd.readouterr()
    without, second, none = measure(cell, machine)
    assert none == ()
    assert "warning: no pictures of pixels(size=8)" in capfd.readouterr().err
    monkeypatch.setattr(Gallery, "add", lambda *_arguments: None)
    never, third, _ = measure(cell, machine)
    assert numbers(shown, first) == numbers(without, second) == numbers(never, third)
