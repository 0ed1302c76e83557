"""After TeCoA: attacked images stay with their class, whose place among the teacher's features is fixed."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.traits import TuningTraits
from brittle.tuning.parts.inner import Inner
from brittle.tuning.parts.method import Method
from brittle.tuning.parts.source import Source
from brittle.tuning.parts.supervised import Supervised, task_of
from brittle.types import Encoder, Features, Positive
from brittle.types.threat import Norm

IMAGES = 4096  # of which the classes' places are taken, at most


def tecoa(
    encoder: Encoder,
    source: Source,
    /,
    *,
    temperature: Positive = 0.01,
    task: str = "classification",
    eps: Positive = 8 / 255,
    norm: Norm = "linf",
    attack: str = "pgd(steps=5, step=0.25, keep=last)",
) -> Method:
    """Cross entropy of attacked images over the cosines with one fixed vector a class (TeCoA, Mao et al. 2023): the
    mean of the teacher's features of its images, where the source has CLIP's embedding of its name.

    Args:
        temperature: what cosines are divided by; CLIP's.
        task: whose targets supervise it.
        attack: spec of the inner attack, which makes the images that are trained on.
        eps, norm: its budget.
    """
    kind = components.build("tasks", task)
    if not {"classes", "per_image"} <= set(kind.abilities):
        raise UsageError(f"tecoa has one vector for each class of an image; {task} has no such classes, take pgd_at")

    def loss(attacked: Tensor, _clean: Tensor, target: Tensor) -> Tensor:
        return kind.loss(attacked, target)

    head = Prototypes(_means(encoder.eval(), source), temperature)
    return Supervised(encoder, Inner(attack, eps, norm, kind), head, loss, clean=False)


class Prototypes(nn.Module):
    """Logits [B, C]: cosines of pooled features with fixed vectors [C, D], over a temperature."""

    vectors: Tensor

    def __init__(self, vectors: Tensor, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("vectors", normalize(vectors, dim=1))

    def forward(self, features: Features, _size: object) -> Tensor:
        return normalize(features.pooled.float(), dim=1) @ self.vectors.T / self.temperature


@torch.no_grad()
def _means(encoder: Encoder, source: Source) -> Tensor:
    """[C, D]; a class without an image is nowhere."""
    total = torch.zeros(source.classes, encoder.dim)
    for batch in source.some(IMAGES):
        total.index_add_(0, batch.target, normalize(encoder(batch.images).pooled, dim=1))
    return total


TRAITS = TuningTraits(target=task_of)
