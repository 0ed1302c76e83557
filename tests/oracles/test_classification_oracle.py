"""PGD against torchattacks' recorded images and verdicts, and what follows from them."""

import torch

from brittle import verify


def test_clean_predictions_are_the_recorded_ones() -> None:
    arrays, network = verify.recorded("cls_a"), verify.classifier()
    with torch.no_grad():
        right = network(arrays["images"].float() / 255).argmax(1) == arrays["labels"]
    assert torch.equal(right, arrays["clean"])


def test_pgd_is_torchattacks_pgd() -> None:
    lines = list(verify.pgd())
    assert len(lines) == 4
    assert [line for line in lines if not line.ok] == []


def test_keeping_the_best_iterate_is_never_weaker_than_the_recorded_attack() -> None:
    _, robust = verify.attacked("pgd(steps=20, step=0.25, random_start=false, keep=best)", "linf")
    assert not (robust & ~verify.recorded("cls_a")["robust:pgd20"]).any()
