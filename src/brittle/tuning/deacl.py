"""DeACL: a student stays near its frozen teacher on clean images and near itself on attacked ones; the pooled feature
only."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from brittle.attacks.parts.ascent import ascend
from brittle.tasks.parts.displacement import Displacement
from brittle.tuning.parts import training
from brittle.types import Batch, Count, Encoder, Model, NotNegative, Positive, frozen
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def deacl(
    encoder: Encoder,
    batches: training.Batches,
    seed: int,
    /,
    *,
    eps: Positive = 8 / 255,
    attack_steps: Count = 5,
    attack_step: Positive = 0.25,
    gamma: Positive = 2.0,
    steps: Count = 1000,
    lr: Positive = 5e-4,
    warmup: Count = 50,
    decay: NotNegative = 0.0,
    precision: str = "32-true",
    devices: Count = 1,
    checkpoint: str = "",
) -> Encoder:
    """Decoupled adversarial contrastive learning (Zhang et al. 2022), the second stage: distillation.

    Minimises ``-cos(s(x), t(x)) - gamma cos(s(x_adv), s(x))`` where ``x_adv`` climbs ``-cos(s(x_adv), t(x))`` in the
    linf ball.

    Args:
        encoder: the teacher; it is not changed.
        batches: the batch of a step; it has no targets.
        seed: of the random starts.
        eps: radius of the ball, in pixel units.
        attack_steps, attack_step: of the inner ascent; the step is a fraction of eps.
        gamma: weight of robustness.
        checkpoint: file to resume from.

    Returns:
        The tuned student, in evaluation mode.
    """
    teacher = copy.deepcopy(encoder).eval().requires_grad_(False)
    student = copy.deepcopy(encoder).train()
    threat = Threat("linf", eps)
    model = Model(Displacement(), None, student)

    def loss(module: nn.Module, batch: Batch, step: int) -> Tensor:
        with torch.no_grad():
            anchor = teacher.to(batch.images.device)(batch.images).pooled
        rng = Rng(seed, [f"{name}@{step}" for name in batch.ids])

        def away(images: Tensor, _progress: float) -> Tensor:
            return -cosine_similarity(student(images).pooled.float(), anchor.float(), dim=1)

        with frozen(student):
            attacked = ascend(
                away,
                model,
                batch,
                threat,
                rng,
                steps=attack_steps,
                step=attack_step,
                random_start=True,
                restarts=1,
                keep="last",
            )
        moved = module(torch.cat([batch.images, attacked])).pooled.float()
        clean, adversarial = moved.chunk(2)
        near = -cosine_similarity(clean, anchor.float(), dim=1) - gamma * cosine_similarity(adversarial, clean, dim=1)
        return near.mean()

    training.train(
        student,
        loss,
        batches,
        steps=steps,
        rate=lr,
        warmup=warmup,
        decay=decay,
        what="deacl",
        precision=precision,
        devices=devices,
        checkpoint=Path(checkpoint) if checkpoint else None,
    )
    return student.eval()
