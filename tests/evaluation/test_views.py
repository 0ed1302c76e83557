"""More views of training images: what is mirrored or cut out is so in the target too."""

from collections.abc import Sequence

import pytest
import torch

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.evaluation import heads, measure
from brittle.evaluation.machine import Machine
from brittle.evaluation.views import views_of
from brittle.planning import protocols
from brittle.planning.identity import resolve
from brittle.types import Batch

SIZE = 16


def batch(target: str, ids: Sequence[str] = ("a", "b")) -> Batch:
    """Images whose red says the place, and a target that says the same."""
    ramp = torch.arange(SIZE).float().expand(len(ids), SIZE, SIZE)
    images = torch.stack([ramp / SIZE, ramp.mT / SIZE, ramp * 0], 1)
    made = {"label": torch.arange(len(ids)), "mask": ramp.long(), "depth": 1 + ramp[:, None]}[target]
    return Batch(images, made, list(ids))


def views(task: str, target: str, *names: str) -> list[Batch]:
    return list(views_of(batch(target), names, components.build("tasks", task)))


def test_without_names_there_is_the_batch_alone() -> None:
    (one,) = views("segmentation", "mask")
    assert torch.equal(one.images, batch("mask").images)


def test_a_mirrored_image_has_a_mirrored_mask_and_its_own_label() -> None:
    _, mask = views("segmentation", "mask", "flips")
    assert torch.equal(mask.images[:, 0] * SIZE, mask.target.float())
    assert mask.target[0, 0].tolist() == list(range(SIZE - 1, -1, -1))
    _, label = views("classification", "label", "flips")
    assert label.target.tolist() == [0, 1]
    assert label.images[0, 0, 0, 0] * SIZE == SIZE - 1


def test_a_part_is_the_same_part_of_image_and_target_and_nearer() -> None:
    _, mask = views("segmentation", "mask", "crops")
    gap = (mask.images[:, 0] * SIZE - mask.target).abs()
    assert gap.max() <= 1.0, "a part of the ramp, half a pixel of interpolation apart"
    widths = mask.target[:, 0].amax(1) - mask.target[:, 0].amin(1) + 1
    assert ((widths >= SIZE // 2) & (widths <= SIZE)).all()
    assert not torch.equal(mask.target[0], mask.target[1]), "each image has its own"
    _, depth = views("depth", "depth", "crops")
    shares = depth.target[:, 0] / (mask.target + 1)
    for share, width in zip(shares, widths):
        assert float(share.amax() - share.amin()) < 1e-6
        assert round(float(share[0, 0]) * SIZE) == width
    again = views("segmentation", "mask", "crops")[1]
    assert torch.equal(again.images, mask.images), "the same in every fit"
    assert mask.images.shape == (2, 3, SIZE, SIZE)


def test_names_stand_in_the_spec_of_a_protocol() -> None:
    assert protocols.canonical("standard(views=[crops, flips, crops])") == "standard(views=all)"
    assert protocols.canonical("paper(views=flips, subset=first)") == "paper(subset=first, views=[flips])"
    assert protocols.canonical("standard(views=[])") == "standard"
    with pytest.raises(UsageError, match=r"view.*rotations.*flips"):
        protocols.canonical("standard(views=[rotations])")


@pytest.mark.parametrize("task", ["classification", "segmentation", "depth"])
def test_heads_are_fitted_on_them_too(task, cell_of, fresh, monkeypatch) -> None:
    seen: list[int] = []
    real = heads.probe.fit

    def fit(*arguments, **settings):
        seen.extend(sum(len(target) for _, target in rows) for rows in arguments[4:6])
        return real(*arguments, **settings)

    monkeypatch.setattr(heads.probe, "fit", fit)
    for protocol in ("standard", "standard(views=all)"):
        resolved = resolve(cell_of(None, task=task, protocol=protocol), "fp32").pinned()
        measure.model_of(resolved, Machine(device="cpu", precision="fp32"))
    assert seen == [seen[0], seen[1], 3 * seen[0], seen[1]], "train three times over, val as it is"
