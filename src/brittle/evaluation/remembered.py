"""Features of scored images, held in memory for the heads that score the same images next: one pass of the encoder for
all of them."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from brittle.types import Encoder, Features, Look, Model
from brittle.types.model import predict

ROOM = 2**29
"""Bytes that are held at most for each encoder; what was asked for longest ago goes first."""


class _Held(NamedTuple):
    """Images and what an encoder sees in them."""

    ids: tuple[str, ...]
    look: Look
    images: Tensor
    features: Features

    @property
    def size(self) -> int:
        return sum(part.nbytes for part in (self.images, *self.features))


class Remembered:
    """Predictions of models that share an encoder, for images that were seen before without the encoder."""

    def __init__(self) -> None:
        self._numbers = count()
        self._encoders: WeakKeyDictionary[Encoder, OrderedDict[int, _Held]] = WeakKeyDictionary()

    def predict(self, model: Model, ids: Sequence[str], images: Tensor) -> Tensor:
        """What ``model`` predicts for ``images`` [B,3,H,W], named ``ids``, without a gradient; what it sees in windows,
        or without an encoder or as a whole network, is predicted as ever."""
        if model.encoder is None or model.network or model.head is None or model.bf16 or model.windowed(images):
            return model(images)
        features = Features(
            *(part.clone() for part in self._features(model, tuple(ids), images))
        )  # for heads that write
        return predict(model.head, features, model.encoder.patch, images.shape[-2:])

    def _features(self, model: Model, ids: tuple[str, ...], images: Tensor) -> Features:
        assert model.encoder is not None
        held = self._encoders.setdefault(model.encoder, OrderedDict())
        for key, kept in held.items():
            if (kept.ids, kept.look) == (ids, model.look) and torch.equal(kept.images, images):
                held.move_to_end(key)
                return kept.features
        features = model.encode(images, model.look)
        held[next(self._numbers)] = _Held(ids, model.look, images.clone(), features)
        size = sum(each.size for each in held.values())
        while size > ROOM:
            size -= held.popitem(last=False)[1].size
        return features
