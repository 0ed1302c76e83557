"""Square Attack against the official AutoAttack's recorded verdicts (cls_a.npz), and without the fault that those
have."""

import torch

from brittle import verify


def test_it_is_as_strong_as_recorded() -> None:
    assert [line for line in verify.counted("square", "linf") if not line.ok] == []


def test_as_the_paper_has_it_it_is_stronger() -> None:
    """The recorded attack never paints the last row and column, an eighth of such an image."""
    rows = torch.arange(60)
    _, robust = verify.attacked("square(variant=paper)", "linf", rows)
    assert int(robust.sum()) <= int(verify.recorded("cls_a")["robust:Linf/square"][rows].sum()) - 3


def test_l2_spares_what_the_recorded_attack_spares() -> None:
    """Of those that gradients do break: there a budget overstepped would show."""
    recorded = verify.recorded("cls_a")
    rows = (~recorded["robust:L2/apgd-t"]).nonzero().flatten()
    _, robust = verify.attacked("square(queries=2000)", "l2", rows)
    theirs = int(recorded["robust:L2/square"][rows].sum())
    assert len(rows) == theirs == 10
    assert abs(int(robust.sum()) - theirs) <= 2
