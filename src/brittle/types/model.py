"""The model that is attacked: an encoder with a head, for one task."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from brittle.core.errors import BrittleError, CellError, UsageError
from brittle.types import windows
from brittle.types.attack_log import SILENCE, AttackLog
from brittle.types.encoder import FINAL, Encoder, Features, Look
from brittle.types.freezing import modules_behind
from brittle.types.half import bfloat16
from brittle.types.network import Network
from brittle.types.task import Task, resized

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Model(nn.Module):
    """What is attacked: images [B,3,H,W] in [0,1] to a prediction, for one task.

    Args:
        task: what the prediction means.
        head: (Features, (H, W)) -> prediction; or a ``Network`` or, without an encoder, any callable images ->
            prediction, which is taken in the images' own floating type.
        encoder: the encoder below the head, or inside the network.
        window, stride: larger images are predicted in sliding windows of this edge, their maps averaged; 0 for never.
        look, reads: which of the encoder's features the head reads, and which parts of them count for an attack that
            moves those; None for what the task says.

    ``bf16``, false at first, runs the encoder or network in bfloat16 (autocast; head, loss and images stay float32):
    about twice as fast and good enough for an attack's gradients, of which 99.7 % have the same sign. Scores are never
    taken from it. ``settles``, false at first, lets an attack be over with an image as soon as it has succeeded: for a
    score that counts successes, not for images that are wanted as harmful as can be. ``log`` is what an attack writes
    down. All three are set by ``using``.
    """

    bf16: bool = False
    settles: bool = False
    log: AttackLog = SILENCE

    def __init__(
        self,
        task: Task,
        head: Callable[..., Tensor] | None,
        encoder: Encoder | None = None,
        *,
        window: int = 0,
        stride: int = 0,
        look: Look | None = None,
        reads: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.task, self.head, self.encoder, self.window, self.stride = task, head, encoder, window, stride
        self.look = task.look if look is None else look
        self.reads = task.reads if reads is None else reads

    @contextmanager
    def using(
        self, *, bf16: bool | None = None, settles: bool | None = None, log: AttackLog | None = None
    ) -> Generator[None]:
        """Inside, the encoder runs in bfloat16 or not, attacks are over with what has succeeded or not, and write into
        ``log``; None leaves each as it is."""
        before = self.bf16, self.settles, self.log
        self.bf16 = self.bf16 if bf16 is None else bf16
        self.settles = self.settles if settles is None else settles
        self.log = self.log if log is None else log
        try:
            yield
        finally:
            self.bf16, self.settles, self.log = before

    @property
    def network(self) -> Network | None:
        """The whole network, where it is one."""
        return self.head if isinstance(self.head, Network) else None

    def windowed(self, images: Tensor) -> bool:
        """Whether these images are seen in windows."""
        return 0 < self.window < max(images.shape[-2:])

    def forward(self, images: Tensor) -> Tensor:
        if self.head is None:
            raise UsageError(
                "this model is an encoder without a head; attack it with an embedding attack, or fit a head first"
            )
        if self.windowed(images):
            opaque = self.encoder is not None and self.encoder.opaque
            return windows.mean_map(self._at_size, images, self.window, self.stride, opaque=opaque)
        return self._whole(images)

    def _at_size(self, images: Tensor) -> Tensor:
        return resized(self._whole(images), images.shape[-2:])

    def _whole(self, images: Tensor) -> Tensor:
        assert self.head is not None
        if self.encoder is None or self.network:
            return self._by_itself(self.head, images)
        return predict(self.head, self.encode(images, self.look), self.encoder.patch, images.shape[-2:])

    def _by_itself(self, head: Callable[..., Tensor], images: Tensor) -> Tensor:
        half = self.bf16 and self.network is not None
        with stopped(images, head), bfloat16(images.device) if half else nullcontext():
            prediction = head(images.clone())  # it may write into its input
        kind = getattr(prediction, "dtype", None)  # a callable may return anything, which is refused elsewhere
        return prediction.to(images.dtype) if kind in FLOATING else prediction

    def encode(self, images: Tensor, look: Look = FINAL) -> Features:
        """The encoder's features, in its own precision, or float32 of what it makes in bfloat16.

        Args:
            look: which of them.

        Raises:
            UsageError: the model has no encoder, or the encoder no such layer.
        """
        return Features(*self._seen(images, lambda encoder, seen: encoder.look(seen, look)))

    def attend(self, images: Tensor, layer: int) -> Tensor:
        """The encoder's attention probabilities, see ``Encoder.attention_at``; precision and errors as in
        ``encode``."""
        (probabilities,) = self._seen(images, lambda encoder, seen: (encoder.attention_at(seen, layer),))
        return probabilities

    def _seen(self, images: Tensor, look: Callable[[Encoder, Tensor], Sequence[Tensor]]) -> Sequence[Tensor]:
        if self.encoder is None:
            raise UsageError("an embedding attack needs a model with an encoder, not a bare callable; pass an Encoder")
        images = images.clone()  # an encoder may write into its input
        with stopped(images, self.encoder):
            if not self.bf16:
                return look(self.encoder, images)
            with bfloat16(images.device, compiled=self.encoder.opaque):
                parts = look(self.encoder, images)
        return [part.float() for part in parts]


def predict(head: Callable[..., Tensor], features: Features, patch: int, size: Sequence[int]) -> Tensor:
    """A head's prediction for images of ``size`` (H, W); dense ones are made for all the encoder saw, then cut to the
    image, since an encoder may pad at the right and at the bottom."""
    rows, columns = features.grid.shape[-2:]
    prediction = head(features, (rows * patch, columns * patch))
    return prediction[..., : size[0], : size[1]] if prediction.dim() == 4 else prediction


@contextmanager
def stopped(images: Tensor, model: Callable[..., object]) -> Generator[None]:
    """Whatever a model inside raises at ``images`` is one line that says at what; memory that runs out is left to those
    who can do with less at once."""
    try:
        yield
    except (BrittleError, MemoryError):
        raise
    except Exception as error:
        if out_of_memory(error) or type(error).__module__.startswith("torch.utils.checkpoint"):
            raise  # torch ends a recomputation by an error of its own
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        weights = {p.dtype for m in modules_behind(model) for p in m.parameters() if p.is_floating_point()}
        other = next(iter(weights - {images.dtype}), None)
        hint = f"; it has weights of {other}, so wrap it: lambda x: model(x.to({other}))" if other else ""
        raise CellError(f"the model stops at {images.dtype} images {list(images.shape)}: {why}{hint}") from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; that of torch's CPU allocator, and those of cuDNN and cuBLAS, have no
    class of their own."""
    words = ("DefaultCPUAllocator", "ALLOC_FAILED")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(word in str(error) for word in words)
