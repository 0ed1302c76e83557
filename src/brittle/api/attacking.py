"""Attack and check any model on images in memory."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from brittle.api.inputs import Array, Inputs, displaced, inputs
from brittle.api.objects import Objects
from brittle.api.world import world
from brittle.attacks.parts.halving import join, split_on_oom
from brittle.attacks.parts.run import attacked
from brittle.checks.parts import evidence
from brittle.core.errors import CellError, UsageError
from brittle.core.records import Finding
from brittle.evaluation.scoring import Scoring, violation
from brittle.types import Attack, Batch, Encoder, Model, Objective, Task, frozen
from brittle.types.attack_log import Attacked, AttackLog
from brittle.types.rng import Rng
from brittle.types.threat import Norm

AT_ONCE = 64  # images that ``check`` attacks at once


def attack(
    model: Callable[[Tensor], Tensor] | Encoder,
    images: Array,
    target: Array | None = None,
    *,
    attack: str | Attack = "pgd",
    objective: str | Callable[[Model, Batch], Objective] | None = None,
    task: str | Task = "classification",
    eps: float | str | None = None,
    norm: Norm = "linf",
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> Tensor:
    """Adversarial images for ``images``, within ``eps`` and [0, 1]. Images and target may be whatever
    ``torch.as_tensor`` takes.

    Args:
        model: any callable from [0,1] images to logits [B,C], logits [B,C,H,W] or metres [B,1,H,W]; or an Encoder, for
            ``embed``.
        images: [B,3,H,W] in [0,1], float32, or float64 for a model in that; half precision cannot hold the budget.
        target: what the task reads: labels [B] or masks [B,H,W] of any whole-number type, depth [B,1,H,W] in metres of
            any floating type (whole numbers are refused: they are often millimetres); not needed by an embedding
            attack, or ``representation``.
        attack: spec, such as ``pgd(steps=40)``, or a function ``(model, batch, threat, rng) -> images``.
        objective: what the attack climbs, in place of its own: a spec, or a function ``(model, batch) -> objective``.
        task: spec, or a ``Task``.
        eps: budget in pixel units, at most 1 in ``linf``, 8/255 if None; ``l2`` and ``l1`` have no default, and what
            is above the square root of 3HW, or 3HW, means nothing more there.
        ids: names of the images, to which the random starts belong; their positions if None.

    Raises:
        UsageError: images or a target of another kind, a model whose prediction is none of the task's, or any spec that
            makes no sense.
        CellError: the attack returned anything but images of this shape and type within the budget.
    """
    with world(seed), Objects() as objects:
        given = inputs(
            model,
            images,
            target,
            attack=attack,
            objective=objective,
            task=task,
            eps=eps,
            norm=norm,
            ids=ids,
            objects=objects,
        )
        with frozen(given.model):

            def make(batch: Batch) -> Tensor:
                return attacked(given.model, given.attack, batch, given.threat, Rng(seed, batch.ids), precision="fp32")

            found = split_on_oom(make, torch.cat, given.batch)
        violation(given.threat, given.batch, found)
        return found


def check(
    model: Callable[[Tensor], Tensor] | Encoder,
    images: Array,
    target: Array | None = None,
    *,
    attack: str | Attack = "pgd",
    objective: str | Callable[[Model, Batch], Objective] | None = None,
    task: str | Task = "classification",
    eps: float | str | None = None,
    norm: Norm = "linf",
    seed: int = 0,
    full: bool = False,
) -> list[Finding]:
    """What every check says of a model's robustness under an attack, which is run for it; arguments and errors are
    those of ``attack``. An Encoder is scored by how far its feature moves, whatever the task.

    Args:
        full: also the checks that cost as much as the attack.

    Returns:
        Findings, of which one of verdict ``fail`` means that the number is not to be trusted; what cannot be measured,
        as the model predicts nan or all targets are void, gives the one finding that says so.
    """
    with world(seed), Objects() as objects:
        given = inputs(
            model,
            images,
            target,
            attack=attack,
            objective=objective,
            task=task,
            eps=eps,
            norm=norm,
            ids=None,
            objects=objects,
        )
        if isinstance(model, Encoder):
            given = displaced(given, model, AT_ONCE)
        elif target is None:
            raise UsageError(f"checks need a target: labels, masks or depth of the {len(given.batch.ids)} images")
        return _findings(given, seed, full)


def _findings(given: Inputs, seed: int, full: bool) -> list[Finding]:
    scoring = Scoring(given.model, given.threat, len(given.batch.ids))

    def make(batch: Batch) -> dict[str, Tensor]:
        log = AttackLog()
        adversarial = attacked(
            given.model, given.attack, batch, given.threat, Rng(seed, batch.ids), precision="fp32", log=log
        )
        return log.attacked(adversarial).tensors()

    try:
        with frozen(given.model):
            for rows in torch.arange(len(given.batch.ids)).split(AT_ONCE):
                batch = given.batch.rows(rows.tolist())
                scoring.add(batch, Attacked.of(split_on_oom(make, join, batch)))
            scores = scoring.scores()
            return list(evidence.findings(scoring.evidence(given.attack, seed, "fp32", scores, full=full)))
    except CellError as error:
        if not error.check:
            raise
        return [Finding(error.check, "fail", None, error.why)]
