"""Square Attack against the official AutoAttack's recorded verdicts, and without the fault that those have."""

import torch
from torch import Tensor

from brittle import verify
from brittle.threat import Norm


def robust(norm: Norm, index: Tensor, attack: str) -> tuple[int, int]:
    """How many of the images are still right: ours, and recorded."""
    wanted = verify.recorded("cls_a")[f"robust:{verify.NORMS[norm][1]}/square"]
    return int(verify.attacked(attack, norm, index)[1].sum()), int(wanted[index].sum())


def test_as_autoattack_has_it_it_is_as_strong_as_recorded() -> None:
    (line,) = verify.counted("square", "linf")
    assert line.ok, line


def test_as_the_paper_has_it_it_is_stronger() -> None:
    """The recorded attack never paints the last row and column, an eighth of such a picture."""
    ours, theirs = robust("linf", torch.arange(60), "square")
    assert ours <= theirs - 3


def test_l2_spares_what_the_recorded_attack_spares() -> None:
    """Of those that gradients do break: there a budget overstepped would show."""
    index = (~verify.recorded("cls_a")["robust:L2/apgd-t"]).nonzero().flatten()
    ours, theirs = robust("l2", index, "square(queries=2000)")
    assert len(index) == theirs == 10
    assert abs(ours - theirs) <= 2
