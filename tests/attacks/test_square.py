"""Square Attack: scores only, the best image it has asked about, squares as the paper has them, and nobody else's
business."""

import pytest
import torch
from torch import Tensor, nn

import brittle
from brittle.attacks import square as module
from brittle.attacks.parts.slope import pauses
from brittle.core import components
from brittle.core.errors import CellError, UsageError
from brittle.types import Batch, Model, frozen, per_image
from brittle.types.rng import Rng
from brittle.types.target import VOID
from brittle.types.threat import Threat
from optimum import DUAL, farthest

EPS = {"linf": 0.08, "l2": 1.2, "l1": 8.0}
DENSE = ("segmentation", "depth")
every_norm = pytest.mark.parametrize("norm", EPS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(count: int, height: int = 12, width: int = 10) -> Tensor:
    """In the middle of the box, so that linf never clips."""
    return 0.45 + 0.1 * torch.rand(count, 3, height, width, generator=generator(1))


class Asked(nn.Module):
    """A small network that keeps every batch it is asked about."""

    def __init__(self, outputs: int, *, dense: bool = False, positive: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            last = nn.Conv2d(12, outputs, 3, padding=1) if dense else nn.Linear(12 * 30, outputs)
            self.network = nn.Sequential(
                nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Identity() if dense else nn.AvgPool2d(2)
            )
        self.network.append(last if dense else nn.Sequential(nn.Flatten(), last))
        self.positive, self.seen = positive, list[Tensor]()

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.clone())
        return self.answer(images)

    def answer(self, images: Tensor) -> Tensor:
        found = 8 * self.network(images - 0.5)
        return 0.5 + nn.functional.softplus(found) if self.positive else found


def attack(
    model: nn.Module,
    task: str,
    images: Tensor,
    target: Tensor,
    norm: str,
    text: str,
    names: list[str] | None = None,
    seed: int = 0,
):
    wrapped = Model(components.build("tasks", task), model)
    names = names or [str(i) for i in range(len(images))]
    with frozen(wrapped):
        return components.build(
            "attacks", text, wrapped, Batch(images, target, names), Threat(norm, EPS[norm]), Rng(seed, names)
        )


def classes(count: int) -> tuple[Asked, Tensor, Tensor]:
    """A classifier, images, and its own answers as labels, but for the last image, which is wrong from the start."""
    model, images = Asked(4), pixels(count)
    labels = model.answer(images).argmax(1)
    labels[-1] = (labels[-1] + 1) % 4
    return model, images, labels


def dense(task: str, count: int) -> tuple[Asked, Tensor, Tensor]:
    """A dense model, images, and a target the model is partly right about; the last image's is all void."""
    images = pixels(count)
    if task == "depth":
        target = 1 + 4 * torch.rand(count, 1, 12, 10, generator=generator(2))
        target[:, :, :2] = target[-1] = 0
        return Asked(1, dense=True, positive=True), images, target
    target = torch.randint(0, 3, (count, 12, 10), generator=generator(2))
    target[:, :2] = target[-1] = VOID
    return Asked(3, dense=True), images, target


def losses(model: Asked, task: str, images: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        return per_image(components.build("tasks", task).loss(model.answer(images), target))


# --- scores only ------------------------------------------------------------------------------------------------------


class _Wall(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, images: Tensor) -> Tensor:
        return images.view_as(images)

    @staticmethod
    def backward(_ctx, *_gradients: Tensor):
        raise RuntimeError("a gradient was asked for")


@every_norm
def test_no_gradient_is_ever_taken(norm) -> None:
    model, images, labels = classes(8)

    def walled(images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return model(_Wall.apply(images))

    with torch.enable_grad():
        found = brittle.attack(walled, images, labels, attack="square(queries=50)", eps=EPS[norm], norm=norm)
    assert not torch.equal(found, images)
    with pytest.raises(RuntimeError, match="a gradient was asked for"):
        brittle.attack(
            lambda images: model(_Wall.apply(images)), images, labels, attack="pgd(steps=1)", eps=EPS[norm], norm=norm
        )


def test_a_classifier_too_sure_for_gradients_is_no_harder() -> None:
    model, images, labels = classes(8)

    def sure(images: Tensor) -> Tensor:
        return 4096 * model(images)  # exact in floating point; cross entropy is 0 and so is its gradient

    plain, scaled = (
        attack(network, "classification", images, labels, "linf", "square(queries=60)") for network in (model, sure)
    )
    assert torch.equal(scaled, plain)
    assert not torch.equal(plain, images)


# --- who is asked, and how often --------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarts", [1, 2])
@every_norm
def test_only_survivors_are_asked_again(norm, restarts) -> None:
    model, images, labels = classes(24)
    found = attack(model, "classification", images, labels, norm, f"square(queries=60, restarts={restarts})")
    asked, left, survivors = model.seen, torch.arange(24), torch.arange(24)
    assert len(asked) == 1 + 60 * restarts, "the clean ones are asked about once"
    for number, batch in enumerate(asked):
        assert len(batch) == len(left), f"query {number}"
        beaten = left[model.answer(batch).argmax(1) != labels[left]]
        survivors = survivors[~torch.isin(survivors, beaten)]
        query = (number - 1) % 60 + 1
        if number == 0 or pauses(query) or query % 20 == 0:
            left = survivors
    assert 1 <= len(survivors) < 21, "enough of both to tell"
    assert torch.equal((model.answer(found).argmax(1) == labels).nonzero().flatten(), survivors)
    assert torch.equal(found[-1], images[-1]), "wrong from the start"


def test_a_restart_adds_to_what_was_found() -> None:
    model, images, labels = classes(24)
    once, twice = (
        attack(model, "classification", images, labels, "linf", f"square(queries=60, restarts={n})") for n in (1, 2)
    )
    first, second = (model.answer(found).argmax(1) != labels for found in (once, twice))
    assert torch.equal(twice[first], once[first])
    assert second.sum() > first.sum()


@pytest.mark.parametrize("task", DENSE)
def test_a_restart_is_never_worse(task) -> None:
    model, images, target = dense(task, 12)
    found = [attack(model, task, images, target, "linf", f"square(queries=30, restarts={n})") for n in (1, 2)]
    once, twice = (losses(model, task, one, target)[:-1] for one in found)
    assert (twice >= once).all()
    assert (twice > once).any()
    assert (twice == once).any(), "the second search is not always the better one"


@every_norm
def test_who_else_is_in_the_batch_changes_nothing(norm) -> None:
    model, images, labels = classes(32)
    names, text = [f"image {i}" for i in range(32)], "square(queries=130, restarts=2)"
    whole = attack(model.double(), "classification", images.double(), labels, norm, text, names)
    turned = torch.randperm(32, generator=generator()).tolist()
    other = attack(
        model, "classification", images[turned].double(), labels[turned], norm, text, [names[i] for i in turned]
    )
    torch.testing.assert_close(other, whole[turned], rtol=0, atol=1e-9)
    for i in (0, 7, 31):
        alone = attack(model, "classification", images[i : i + 1].double(), labels[i : i + 1], norm, text, [names[i]])
        torch.testing.assert_close(alone, whole[i : i + 1], rtol=0, atol=1e-9)
    assert len({len(batch) for batch in model.seen[:261]}) > 3, "and it shrank on the way"


# --- how good the found images are ------------------------------------------------------------------------------------


@every_norm
@pytest.mark.parametrize("task", DENSE)
def test_dense_losses_rise_above_noise_and_are_the_best_asked_about(task, norm) -> None:
    model, images, target = dense(task, 6)
    found = attack(model, task, images, target, norm, "square(queries=150)")
    tried = torch.stack([losses(model, task, batch, target[: len(batch)]) for batch in model.seen if len(batch) == 5])
    assert len(tried) == 150, "the one that is all void is asked about once"
    clean, noise, ours = (
        losses(model, task, x, target) for x in (images, attack(model, task, images, target, norm, "noise"), found)
    )
    assert (ours[:-1] > clean[:-1]).all()
    assert (ours[:-1] > noise[:-1]).all()
    torch.testing.assert_close(ours[:-1], torch.cat([tried, clean[None, :-1]]).amax(0), rtol=2e-6, atol=0)
    assert torch.equal(found[-1], images[-1])
    assert Threat(norm, EPS[norm]).violation(images, found).max() <= 1e-6


def test_it_never_ends_below_the_clean_image() -> None:
    """One query, mostly a bad one."""
    model, images, target = dense("segmentation", 17)
    found = attack(model, "segmentation", images, target, "linf", "square(queries=1)")
    worse, kept = (
        losses(model, "segmentation", model.seen[1], target[:-1]),
        losses(model, "segmentation", found, target)[:-1],
    )
    clean = losses(model, "segmentation", images, target)[:-1]
    assert torch.equal(kept, torch.maximum(worse, clean))
    assert (worse < clean).any()


def test_a_mask_with_nothing_right_is_found_although_its_loss_is_lower() -> None:
    images, target = pixels(1, 3, 2), torch.tensor([[[0, 0], [VOID, VOID], [VOID, VOID]]])
    half, none = torch.zeros(2, 1, 2, 3, 2)
    half[0, 1, 0, 1] = 50  # the second pixel is very wrong, the first just right
    none[0, 1] = 1
    asked: list[Tensor] = []

    def network(x: Tensor) -> Tensor:
        asked.append(x.clone())
        return half if torch.equal(x, images) else none

    found = brittle.attack(network, images, target, task="segmentation", attack="square(queries=9)")
    assert len(asked) == 2
    assert torch.equal(found, asked[1])


@every_norm
def test_it_comes_near_the_optimum_of_a_linear_model(norm) -> None:
    weight = torch.randn(180, 2, generator=generator(4))
    gap = weight[:, 0] - weight[:, 1]
    images, target = pixels(4, 6, 10), torch.zeros(4, dtype=torch.long)

    def margin(x: Tensor) -> Tensor:
        return (x - images).flatten(1) @ gap

    class Linear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([99 + x.flatten(1) @ gap, x.new_zeros(len(x))], 1)  # too far ahead to be fooled

    optimum = -EPS[norm] * gap.norm(DUAL[norm]).expand(4)
    if norm == "l1":  # which the box limits
        optimum = -farthest(images, -gap.view(3, 6, 10), EPS[norm]).float()
    few, many = (
        margin(attack(Linear(), "classification", images, target, norm, f"square(queries={n}, variant=paper)"))
        for n in (100, 2000)
    )
    assert (many < few).all()
    assert (many / optimum > {"linf": 0.97, "l2": 0.45, "l1": 0.45}[norm]).all(), (
        "l2: bumps are smooth, these weights are not"
    )
    assert (many / optimum < 1 + 1e-4).all()


# --- squares, bumps, budget -------------------------------------------------------------------------------------------


class Deaf(nn.Module):
    """The same answer to everything, so that each trial is the clean image with one change; it keeps what it is asked
    about."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.clone())
        return torch.tensor([[1.0, 0.0]]).repeat(len(images), 1)


def trials(norm: str, text: str, images: Tensor, eps: float) -> Tensor:
    """[queries,B,3,H,W]: what is added to the clean images in each query."""
    model = Deaf()
    brittle.attack(model, images, torch.zeros(len(images), dtype=torch.long), attack=text, eps=eps, norm=norm)
    assert torch.equal(model.seen[0], images)
    return torch.stack(model.seen[1:]) - images


def box(changed: Tensor) -> tuple[int, int, int, int]:
    """First and last row and column of what is true in [H,W]."""
    rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


SIDES = {  # of 12 x 10 pixels at 1,000 queries, p = 0.8: the square root of 96, 48, 24, ... rounded
    "paper": {1: 10, 2: 7, 5: 7, 6: 5, 20: 5, 21: 3, 50: 3, 51: 2, 200: 2, 201: 1, 999: 1},
    "autoattack": {1: 10, 10: 10, 11: 7, 50: 7, 51: 5, 200: 5, 201: 3, 500: 3, 501: 2, 999: 2},
}


@pytest.mark.parametrize("variant", SIDES)
def test_linf_starts_with_stripes_and_goes_on_with_squares_that_shrink(variant) -> None:
    added = trials("linf", f"square(queries=1000, variant={variant})", pixels(4), 0.05)
    torch.testing.assert_close(added[0].abs(), torch.full_like(added[0], 0.05))
    assert (added[0].sign() == added[0, :, :, :1].sign()).all(), "a stripe has one sign"
    assert added[0].sign().float().std((1, 3)).min() > 0, "and not all have the same"
    boxes = torch.tensor([[box(image.abs().amax(0) > 0) for image in query] for query in added[1:]])
    for number, side in SIDES[variant].items():
        for image, (top, bottom, left, right) in zip(added[number], boxes[number - 1].tolist()):
            assert (bottom - top + 1, right - left + 1) == (side, side), f"query {number}"
            inside = image[:, top : bottom + 1, left : right + 1]
            torch.testing.assert_close(inside.abs(), torch.full_like(inside, 0.05))
            assert (inside.sign() == inside[:, :1, :1].sign()).all(), "a square has one sign per channel"
    end = 1 if variant == "paper" else 2
    small = boxes[510:]
    assert boxes[..., 0].min() == 0
    assert boxes[..., 2].min() == 0
    assert (small[..., 1].max(), small[..., 3].max()) == (12 - end, 10 - end), (
        "the last row and column are the paper's, not the code's"
    )
    assert (boxes[:, 0] != boxes[:, 1]).any(1).float().mean() > 0.8, "each image has places of its own"


def eta(side: int) -> Tensor:
    """The paper's formula, value by value."""

    def half(rows: int) -> Tensor:
        found = torch.zeros(rows, side)
        for r in range(rows):
            for c in range(side):
                n = max(rows, side) // 2
                far = max(abs(r - rows // 2), abs(c - side // 2))
                found[r, c] = sum(1 / (n + 1 - k) ** 2 for k in range(n - far + 1))
        return found / max(found.norm().item(), 1e-9)

    both = torch.cat([half(side // 2), -half(side - side // 2)])
    return both / both.norm()


def test_l2_starts_with_tiles_and_goes_on_with_bumps() -> None:
    added = trials("l2", "square(queries=1000, p_init=0.3, variant=paper)", pixels(4), 0.3)
    torch.testing.assert_close(added.flatten(2).norm(dim=2), torch.full(added.shape[:2], 0.3))
    tiles = added[0] / 0.3 * (3 * 30) ** 0.5  # 6 rows and 5 columns of 2 x 2 pixels
    for place in range(30):
        row, column = 2 * (place // 5), 2 * (place % 5)
        for tile in tiles[:, :, row : row + 2, column : column + 2].flatten(0, 1):
            assert any(torch.allclose(tile, sign * bump, atol=1e-5) for sign in (1, -1) for bump in (eta(2), eta(2).T))
    kinds: set[tuple[int, int]] = set()
    for number, side in {1: 7, 2: 5, 6: 3, 201: 3, 999: 3}.items():
        for image in added[number]:
            top, bottom, left, right = box(image.abs().amax(0) > 0)
            assert (bottom - top + 1, right - left + 1) == (side, side), f"query {number}"
            for channel in image[:, top : bottom + 1, left : right + 1] * 3**0.5 / 0.3:
                fits = [
                    (s, turn)
                    for s in (1, -1)
                    for turn in (0, 1)
                    if torch.allclose(channel, s * (eta(side).T if turn else eta(side)), atol=1e-5)
                ]
                assert len(fits) == 1, f"query {number}"
                kinds.add(fits[0])
    assert len(kinds) == 4


def test_l2_moves_mass_and_makes_none() -> None:
    delta, eps = 0.05 * torch.randn(20, 3, 12, 10, generator=generator(5)), 1.2
    corners = torch.stack(
        [torch.randint(0, limit, (20,), generator=generator(6 + i)) for i, limit in enumerate((8, 6, 8, 6))], 1
    )
    moved = module._transfer(delta, 5, corners, torch.rand(20, 4, generator=generator(9)), Threat("l2", eps))
    for before, after, (row, column, row2, column2) in zip(delta, moved, corners.tolist()):
        first, second = torch.zeros(2, 12, 10, dtype=torch.bool)
        first[row : row + 5, column : column + 5] = True
        second[row2 : row2 + 5, column2 : column2 + 5] = True
        assert torch.equal(after[:, ~(first | second)], before[:, ~(first | second)])
        assert (after[:, second & ~first] == 0).all()
        unused = (eps**2 - before.square().sum()) / 3
        assert unused > 0
        wanted = before[:, first | second].square().sum(1) + unused
        torch.testing.assert_close(after[:, first].square().sum(1), wanted)


@every_norm
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (3, 3), (4, 31), (33, 5)])
def test_any_size_of_image_stays_in_the_budget(size, norm) -> None:
    images = torch.rand(3, 3, *size, generator=generator(3)).mul(1.4).sub(0.2).clamp(0, 1)
    weight = torch.randn(images[0].numel(), 2, generator=generator(4))
    bias = torch.tensor([50.0, 0.0])
    label = torch.zeros(3, dtype=torch.long)
    found = brittle.attack(
        lambda x: x.flatten(1) @ weight + bias, images, label, attack="square(queries=40)", eps=EPS[norm], norm=norm
    )
    assert Threat(norm, EPS[norm]).violation(images, found).max() <= 1e-6
    assert ((found - images).flatten(1) @ (weight[:, 0] - weight[:, 1]) < 0).all()


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["queries=0", "p_init=0", "p_init=1.01", "p_init=nan", "restarts=0", "variant=mine"])
def test_settings_that_make_no_sense_are_refused(text) -> None:
    with pytest.raises(UsageError, match=text.partition("=")[0]):
        components.complete("attacks", f"square({text})")


def test_a_score_that_is_no_number_is_an_error() -> None:
    with pytest.raises(CellError, match="nan"):
        brittle.attack(
            lambda images: images.mean((2, 3)) * torch.nan, pixels(2), torch.zeros(2, dtype=torch.long), attack="square"
        )
