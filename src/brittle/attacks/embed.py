"""EmbedAttack: PGD on the distance the representation moves; it looks at no label, and of a head only at what it
reads."""

from functools import partial

from torch import Tensor

from brittle.attacks.parts.ascent import ascend, by_score, passes
from brittle.attacks.parts.climb import Keep
from brittle.core.traits import AttackTraits, Passes
from brittle.objectives.embedding import Distance, Layer, Tokens, embedding
from brittle.types import AtLeastOne, Batch, Count, Model, Step
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def embed(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    distance: Distance = "l2",
    tokens: Tokens = "head",
    layer: Layer = "final",
    steps: Count = 20,
    step: Step = 0.25,
    random_start: bool = True,
    restarts: AtLeastOne = 1,
    keep: Keep = "best",
) -> Tensor:
    """EmbedAttack (arXiv 2407.12588, 2024): what the task's head reads is moved, the pooled feature, the patch features
    or both, as the paper's code does; with ``tokens=cls`` one set of images serves every task.

    Args:
        distance: between clean and attacked features, as in the objective ``embedding``.
        tokens: ``head`` moves what the head reads, ``cls`` the pooled feature, ``grid`` the patch features, ``all``
            both, ``attention`` the share of its attention that each token gives to each other.
        layer: of which block or stage, counted as in Python; ``final`` for the encoder's output.
        steps: how many.
        step: length of a step as a fraction of eps.
        random_start: begin at a random point of the ball, else at the clean image.
        restarts: how many times to climb.
        keep: ``best`` iterate per image, the one of worst ``score``, the ``last``, or the last that ``fooled``.
    """
    return ascend(
        partial(embedding, distance=distance, tokens=tokens, layer=layer),
        model,
        batch,
        threat,
        rng,
        steps=steps,
        step=step,
        random_start=random_start,
        restarts=restarts,
        keep=keep,
    )


def _climbed(*, distance: Distance, tokens: Tokens, layer: Layer, **_settings: object) -> str:
    return f"embedding(distance={distance}, tokens={tokens}, layer={layer})"


def _passes(*, steps: int, restarts: int, keep: Keep, **_settings: object) -> Passes:
    return passes(steps=steps, restarts=restarts, keep=keep, objective="embedding")


TRAITS = AttackTraits(version=3, objective=_climbed, by_score=by_score, passes=_passes)
