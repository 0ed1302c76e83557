"""FAB against the official AutoAttack's recorded verdicts of its targeted FAB (cls_a.npz): as many images robust,
within 2."""

import pytest
import torch
from torch import Tensor

import brittle
from brittle import verify


def some(verdict: Tensor, beaten: int, robust: int) -> Tensor:
    """Indices of the first so many of each recorded verdict."""
    return torch.cat([(~verdict).nonzero().flatten()[:beaten], verdict.nonzero().flatten()[:robust]])


@pytest.mark.parametrize(("norm", "rows"), [("linf", None), ("l2", (10, 50))])
def test_as_many_stay_right_as_recorded(norm, rows) -> None:
    # all those beaten; a robust one costs 900 steps
    index = some(verify.recorded("cls_a")["robust:L2/fab-t"], *rows) if rows else None
    (line,) = verify.counted("fab-t", norm, index)
    assert line.ok, line


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_seed_does(norm, seed) -> None:
    arrays, network = verify.recorded("cls_a"), verify.classifier()
    size, name = verify.NORMS[norm]
    wanted = arrays[f"robust:{name}/fab-t"]
    rows = some(wanted, 10, 8)
    eps, images, labels = arrays[size].item(), arrays["images"][rows].float() / 255, arrays["labels"][rows]
    found = brittle.attack(network, images, labels, attack="fab(steps=40, restarts=2)", eps=eps, norm=norm, seed=seed)
    change = (found - images).double().flatten(1)
    assert (change.abs().amax(1) if norm == "linf" else change.norm(dim=1)).max() <= eps
    with torch.no_grad():
        robust = network(found).argmax(1) == labels
    assert torch.equal((change != 0).any(1), ~robust), "an image was changed for nothing, or beaten unseen"
    assert abs(int(robust.sum()) - int(wanted[rows].sum())) <= 2
