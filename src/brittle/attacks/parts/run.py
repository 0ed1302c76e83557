"""One attack on one batch."""

from typing import cast

from torch import Tensor

from brittle.core import components
from brittle.core.errors import CellError
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
        log: what the attack writes down.

    Raises:
        CellError: the attack returned something else than images of the batch's shape and type.
    """
    own = batch._replace(images=batch.images.clone())  # what an attack writes into its images moves no clean one
    with model.using(bf16=precision == "bf16", log=log):
        images = cast(object, components.build("attacks", attack, model, own, threat, Rng(seed, batch.ids)))
    shape, dtype = batch.images.shape, batch.images.dtype
    if not isinstance(images, Tensor) or (images.shape, images.dtype) != (shape, dtype):
        what = f"{images.dtype} {list(images.shape)}" if isinstance(images, Tensor) else f"a {type(images).__name__}"
        raise CellError(f"the attack returned {what}; it must return {dtype} {list(shape)}", check="budget")
    return images.detach()
