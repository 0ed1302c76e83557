"""One attack on one batch."""

from torch import Tensor

from brittle.core import components
from brittle.core.spec import Spec
from brittle.types import Batch, Model
from brittle.types.attack_log import SILENCE, AttackLog
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def attacked(
    model: Model,
    attack: Spec | str,
    batch: Batch,
    threat: Threat,
    seed: int,
    *,
    precision: str,
    log: AttackLog = SILENCE,
) -> Tensor:
    """Adversarial images [B,3,H,W] for a batch.

    Args:
        seed: of the random starts, which belong to the images' ids.
        precision: ``bf16`` to run the encoder in it, else ``fp32``.
        log: where the attack records its steps.
    """
    with model.using(bf16=precision == "bf16", log=log):
        return components.build("attacks", attack, model, batch, threat, Rng(seed, batch.ids)).detach()
