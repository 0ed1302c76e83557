"""Adversarial training by labels: what robust tuning without them is compared with."""

from torch import Tensor

from brittle.core import components
from brittle.core.traits import TuningTraits
from brittle.tuning.parts.inner import Inner
from brittle.tuning.parts.method import Method
from brittle.tuning.parts.source import Source
from brittle.tuning.parts.supervised import Supervised, task_of
from brittle.types import Encoder, Positive
from brittle.types.threat import Norm


def pgd_at(
    encoder: Encoder,
    source: Source,
    /,
    *,
    task: str = "classification",
    eps: Positive = 8 / 255,
    norm: Norm = "linf",
    attack: str = "pgd(steps=5, step=0.25, keep=last)",
) -> Method:
    """Adversarial training (Madry et al. 2018) of the encoder with a linear head: the task's loss of attacked images.

    Args:
        task: whose targets supervise it.
        attack: spec of the inner attack, which makes the images that are trained on.
        eps, norm: its budget.
    """
    kind = components.build("tasks", task)

    def loss(attacked: Tensor, _clean: Tensor, target: Tensor) -> Tensor:
        return kind.loss(attacked, target)

    head = kind.head(encoder.dim, source.classes)
    return Supervised(encoder, Inner(attack, eps, norm, kind), head, loss, clean=False)


TRAITS = TuningTraits(target=task_of)
