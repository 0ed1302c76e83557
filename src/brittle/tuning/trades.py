"""TRADES: accuracy on clean images, and predictions of attacked ones that stay near theirs."""

from torch import Tensor

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.traits import TuningTraits
from brittle.objectives.parts.divergence import divergence
from brittle.tuning.parts.inner import Inner
from brittle.tuning.parts.method import Method
from brittle.tuning.parts.source import Source
from brittle.tuning.parts.supervised import Supervised, task_of
from brittle.types import Encoder, NotNegative, Positive
from brittle.types.threat import Norm


def trades(
    encoder: Encoder,
    source: Source,
    /,
    *,
    beta: NotNegative = 6.0,
    task: str = "classification",
    eps: Positive = 8 / 255,
    norm: Norm = "linf",
    attack: str = "pgd(objective=kl, steps=10, step=0.25, keep=last)",
) -> Method:
    """TRADES (Zhang et al. 2019) of the encoder with a linear head: the task's loss of clean images, and ``beta`` times
    the Kullback-Leibler divergence of the attacked predictions of classes from the clean ones.

    Args:
        beta: weight of robustness.
        task: whose targets supervise it.
        attack: spec of the inner attack, which makes the images that are trained on.
        eps, norm: its budget.
    """
    kind = components.build("tasks", task)
    if "classes" not in kind.abilities:
        raise UsageError(f"trades compares predictions of classes; {task} has none, take pgd_at")

    def loss(attacked: Tensor, clean: Tensor, target: Tensor) -> Tensor:
        return kind.loss(clean, target) + beta * divergence(attacked, clean)

    head = kind.head(encoder.dim, source.classes)
    return Supervised(encoder, Inner(attack, eps, norm, kind), head, loss, clean=True)


TRAITS = TuningTraits(target=task_of)
