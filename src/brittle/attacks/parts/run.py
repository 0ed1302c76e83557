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
    rng: Rng,
    *,
    precision: str,
    settles: bool = False,
    log: AttackLog = SILENCE,
) -> Tensor:
    """Adversarial images [B,3,H,W] for a batch.

    Args:
        rng: of the random starts.
        precision: ``bf16`` to run the encoder in it, else ``fp32``.
        settles: whether it may be over with an image that has succeeded.
        log: what the attack writes down.

    Raises:
        CellError: the attack returned something else than images of the batch's shape and type.
    """
    own = batch._replace(images=batch.images.clone())  # what an attack writes into its images moves no clean one
    with model.using(bf16=precision == "bf16", settles=settles, log=log):
        images = cast(object, components.build("attacks", attack, model, own, threat, rng))
    shape, dtype = batch.images.shape, batch.images.dtype
    if not isinstance(images, Tensor) or (images.shape, images.dtype) != (shape, dtype):
        what = f"{images.dtype} {list(images.shape)}" if isinstance(images, Tensor) else f"a {type(images).__name__}"
        raise CellError(f"the attack returned {what}; it must return {dtype} {list(shape)}", check="budget")
    return images.detach()
