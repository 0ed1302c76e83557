"""The Python words: anything can be attacked, and what makes no sense is refused."""

import pytest
import torch
from torch import Tensor, nn

import brittle
from brittle.errors import UsageError
from brittle.types import Encoder, Features

EPS = 8 / 255


def _images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


WEIGHTS = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))


def _logits(images: Tensor) -> Tensor:
    return images.mean((2, 3)) @ WEIGHTS


def _maps(images: Tensor) -> Tensor:
    return torch.einsum("bchw,ck->bkhw", images, WEIGHTS)


def _metres(images: Tensor) -> Tensor:
    return 1 + images.mean(1, keepdim=True)


class Small(Encoder):
    def __init__(self) -> None:
        super().__init__(5, 4, size=8, mean=(0.5,) * 3, std=(0.25,) * 3, about={})
        self.layer = nn.Conv2d(3, 5, 4, 4)

    def forward(self, images: Tensor) -> Features:
        grid = self.layer(self.normalise(images)).tanh()
        return Features(grid.mean((2, 3)), grid)


CASES = {
    "classification": (_logits, torch.tensor([0, 1, 2]), "pgd"),
    "segmentation": (_maps, torch.zeros(3, 8, 8, dtype=torch.long), "segpgd"),
    "depth": (_metres, torch.full((3, 1, 8, 8), 2.0), "depthpgd"),
}


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("task", CASES)
def test_any_callable_is_attacked_on_every_task(task: str, norm: str) -> None:
    model, target, own = CASES[task]
    images = _images()
    for attack in (own, "pgd(steps=5)", "noise"):
        found = brittle.attack(model, images, target, attack=attack, task=task, eps="8/255", norm=norm)  # type: ignore[arg-type]
        assert found.shape == images.shape
        assert not found.requires_grad
        assert not torch.equal(found, images)
        assert found.min() >= 0
        assert found.max() <= 1
        size = (found - images).abs().amax() if norm == "linf" else (found - images).flatten(1).norm(dim=1).amax()
        assert size <= EPS + 1e-6


def test_an_attack_does_harm_and_repeats_itself() -> None:
    target = torch.tensor([0, 1, 2])
    found = [brittle.attack(_logits, _images(), target, attack="pgd", seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    before, after = (nn.functional.cross_entropy(_logits(x), target) for x in (_images(), found[0]))
    assert after > before


def test_random_starts_belong_to_names() -> None:
    target, images = torch.tensor([0, 1, 2]), _images()
    together = brittle.attack(_logits, images, target, attack="noise", ids=["a", "b", "c"])
    alone = brittle.attack(_logits, images[1:2], target[1:2], attack="noise", ids=["b"])
    assert torch.equal(together[1:2], alone)


def test_a_module_stays_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 4)).train()
    weights = model[2].weight.clone()
    brittle.attack(model, _images(), torch.tensor([0, 1, 2]), attack="pgd(steps=2)")
    assert model.training
    assert model[1].training
    assert model[2].weight.requires_grad
    assert model[2].weight.grad is None
    assert torch.equal(model[2].weight, weights)


def test_an_encoder_is_attacked_without_a_head() -> None:
    encoder, images = Small(), _images()
    found = brittle.attack(encoder, images, attack="embed(steps=5)")
    assert (found - images).abs().max() <= EPS + 1e-6
    moved, random = ((encoder(x).pooled - encoder(images).pooled).norm() for x in (found, brittle.attack(encoder, images, attack="noise")))
    assert moved > random


def test_eps_zero_changes_nothing() -> None:
    assert torch.equal(brittle.attack(_logits, _images(), torch.tensor([0, 1, 2]), eps=0), _images())


@pytest.mark.parametrize(
    "images",
    [_images() + 0.5, _images() - 0.5, _images() * 255, _images() * torch.nan, _images()[0], _images()[:, :1], _images().mul(255).byte()],
)
def test_images_of_another_kind_are_refused(images: Tensor) -> None:
    with pytest.raises(UsageError, match=r"\[0,1\]"):
        brittle.attack(_logits, images, torch.tensor([0, 1, 2]))


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "clasification"},
        {"attack": "pdg"},
        {"attack": "pgd(stepps=1)"},
        {"attack": "segpgd"},
        {"norm": "l3"},
        {"eps": "nan"},
        {"eps": -1},
        {"eps": float("inf")},
        {"eps": "1/0"},
    ],
)
def test_words_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError) as error:
        brittle.attack(_logits, _images(), torch.tensor([0, 1, 2]), **changes)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_an_encoder_alone_has_no_label_to_attack() -> None:
    with pytest.raises(UsageError, match="head"):
        brittle.attack(Small(), _images(), torch.tensor([0, 1, 2]), attack="pgd")


def test_an_embedding_attack_needs_an_encoder() -> None:
    with pytest.raises(UsageError):
        brittle.attack(_logits, _images(), attack="embed")


@pytest.mark.parametrize("wrong", [3, 4, -1, 65535])
def test_a_target_without_an_output_is_refused(wrong: int) -> None:
    """In a mask 255 is void; nowhere else."""
    model = nn.Conv2d(3, 3, 1)
    with pytest.raises(UsageError, match=f"target {wrong} "):
        brittle.attack(lambda x: model(x).mean((2, 3)), _images(), torch.tensor([0, 1, wrong]))
    mask = torch.zeros(3, 8, 8, dtype=torch.long)
    mask[0, 0], mask[2, 7, 7] = 255, wrong
    with pytest.raises(UsageError, match=f"target {wrong} "):
        brittle.attack(model, _images(), mask, attack="segpgd", task="segmentation")
    mask[2, 7, 7] = 2
    assert brittle.attack(model, _images(), mask, attack="segpgd(steps=1)", task="segmentation").shape == _images().shape
    with pytest.raises(UsageError, match="2 targets for 3"):
        brittle.attack(model, _images(), mask[:2], attack="segpgd", task="segmentation")


def test_a_missing_target_is_said_not_made_up() -> None:
    with pytest.raises(UsageError, match="target"):
        brittle.attack(_logits, _images(), attack="pgd")


def test_a_split_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="train, val, test"):
        brittle.load_dataset("scenes", "dev")


def test_an_unknown_device_is_refused() -> None:
    from brittle import api

    with pytest.raises(UsageError, match="no device"):
        api.machine("warp")


def test_words_are_found_without_torch_being_imported_first() -> None:
    assert set(brittle.__all__) <= {name for name in brittle.__all__ if callable(getattr(brittle, name))}
    with pytest.raises(AttributeError):
        brittle.nothing  # noqa: B018
