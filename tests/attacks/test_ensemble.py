"""Ensembles whose members go on from each other's images."""

import pytest
import torch
from tiny import tiny_batch, tiny_model

from brittle.attacks.parts import ensemble
from brittle.core import components
from brittle.core.tree import tree
from brittle.types import Batch, Model, frozen
from brittle.types.attack_log import AttackLog
from brittle.types.rng import Rng
from brittle.types.threat import Threat

THREAT = Threat("linf", 4 / 255)


def hurt(model: Model, batch: Batch, images: torch.Tensor) -> torch.Tensor:
    with frozen(model), torch.no_grad():
        return model.task.damage(model.task.score(model(images), batch.target))


def test_a_chained_member_begins_at_the_worst_image_so_far_and_never_makes_it_better() -> None:
    model, batch = tiny_model("depth"), tiny_batch("depth")
    seen: list[torch.Tensor | None] = []
    clean = batch.images
    far = (clean + THREAT.eps * torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1, 1)).clamp(0, 1)

    def first(_model: Model, part: Batch, *_rest: object) -> torch.Tensor:
        seen.append(part.start)
        return far

    def onward(_model: Model, part: Batch, *_rest: object) -> torch.Tensor:
        seen.append(part.start)
        return part.images

    before = hurt(model, batch, clean)
    wanted = torch.where((hurt(model, batch, far) > before).view(-1, 1, 1, 1), far, clean)
    with frozen(model):
        found = ensemble.worst_of([first], model, batch, THREAT, Rng(0, batch.ids), then=[onward, onward])
    assert seen[0] is None, "the first begins where it would alone"
    assert torch.equal(found, wanted)
    assert all(torch.equal(start, wanted) for start in seen[1:] if start is not None)
    assert len(seen) == 3
    assert not torch.equal(wanted, clean)
    assert not torch.equal(wanted, far), "one image each way, or nothing was shown"


@pytest.mark.parametrize(("task", "objective"), [("depth", "mse"), ("segmentation", "task_loss")])
def test_a_chain_is_what_its_attacks_do_one_after_the_other(task: str, objective: str) -> None:
    model, batch = tiny_model(task), tiny_batch(task)
    first, second = (f"pgd(objective={objective}, steps={steps}, step=0.1, keep=score)" for steps in (2, 3))
    with frozen(model):

        def made(attack: str, start: torch.Tensor | None = None) -> torch.Tensor:
            part = batch._replace(start=start)
            return components.build("attacks", attack, model, part, THREAT, Rng(3, batch.ids))

        one = made(first)
        two = made(second, one)
        chained, beside = (made(f"worst(attacks=['{first}', '{second}'], chain={on})") for on in ("true", "false"))
    damage = [hurt(model, batch, images) for images in (one, two)]
    torch.testing.assert_close(hurt(model, batch, chained), torch.maximum(*damage))
    assert (hurt(model, batch, chained) > hurt(model, batch, beside)).any(), "climbing on is what made it stronger"


def test_a_chain_is_logged_counted_and_named_as_what_it_is() -> None:
    model, batch, log = tiny_model("depth"), tiny_batch("depth"), AttackLog(collect=True)
    text = "worst(attacks=['apgd(steps=4, objective=mse)', 'pgd(steps=3)'], chain=true)"
    part = tree("attacks", text)
    assert set(part.versions) >= {"attacks.apgd", "attacks.pgd", "objectives.mse"}
    assert part.spec != tree("attacks", text.replace("true", "false")).spec
    assert model.encoder is not None
    with frozen(model), model.using(bf16=False, log=log):
        components.build("attacks", text, model, batch, THREAT, Rng(0, batch.ids))
    assert len(log.losses) == 5, "the iterates of the first"
    assert len(log.candidates) == 2
    assert model.encoder.tally["forwards"] <= part.passes.forwards
    assert model.encoder.tally["backwards"] <= part.passes.backwards
