"""A network of timm as an Encoder."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from brittle.core.errors import UsageError
from brittle.encoders.parts.wrappers import PaddedEncoder, Pooled, levels
from brittle.types import Features


class TimmEncoder(PaddedEncoder):
    """Wraps a timm model that has ``forward_intermediates``.

    ``pooled`` is the final-norm CLS token, or the mean of the grid where there is none; ``grid`` the final-norm patch
    tokens (a ViT) or the last feature map (a CNN), which has no norm where the model's comes after its pooling.

    Args:
        network: the timm model, without its classifier.
        patch: edge in pixels of a patch, or the total stride of a CNN.
        native: (H, W) of the images that the published model takes; (0, 0) where every size is as good.
        layer: which of timm's feature levels (the blocks of a ViT, the stages of a CNN), counted as Python does; -1 is
            the last.
        pooled: ``native`` for what the model itself pools, such as by attention, at the price of a second pass.
    """

    def __init__(
        self,
        network: nn.Module,
        patch: int,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        about: Mapping[str, Any],
        native: tuple[int, int] = (0, 0),
        layer: int = -1,
        pooled: Pooled = "tokens",
    ) -> None:
        self.normed = _norms(network)
        info = levels(network)[layer]
        width = info.get("num_chs_norm", info["num_chs"]) if self.normed else info["num_chs"]
        super().__init__(width, patch, native=native, size=size, mean=mean, std=std, about=about)
        self.network = network
        self.pooling: Pooled = pooled
        self.level = layer % len(levels(network))
        parameters = inspect.signature(network.forward_intermediates).parameters  # type: ignore[arg-type]
        self.prefix = int(getattr(network, "num_prefix_tokens", 0) or 0) if "return_prefix_tokens" in parameters else 0
        self.has_cls = self.prefix > 0 and getattr(network, "cls_token", None) is not None
        self.options: dict[str, Any] = {"return_prefix_tokens": True} if self.prefix else {}
        plain, pooled_norm = getattr(network, "norm", None), getattr(network, "fc_norm", None)
        # the final norm comes after pooling
        self.late_norm = isinstance(plain, nn.Identity) and isinstance(pooled_norm, nn.Module)
        embed: Any = getattr(network, "patch_embed", None)
        # made for any size, so that it refuses to pass over the last pixels as the published model does
        self.refuses_remainders = getattr(embed, "strict_img_size", True) is False and not getattr(
            embed, "dynamic_img_pad", True
        )
        if not self.late_norm and _norm_of_head(network):
            self.about["grid"] = "before the final norm, which the model applies after its pooling"

    def blocks(self) -> Sequence[nn.Module]:
        named = dict(self.network.named_modules())  # an Identity, without attention, where a model's own name is wrong
        return [
            named.get(level.get("module", "none"), nn.Identity()) for level in levels(self.network)[: self.level + 1]
        ]

    def features(self, padded: Tensor) -> Features:
        ((grid, prefix),) = self._split(padded, [self.level], norm=self.normed)
        if self.late_norm:
            grid, prefix = self._late_normed(grid, prefix)
        found = self._joined(grid, prefix)
        if self.pooling == "tokens":
            return found
        network: Any = self.network
        whole = self._whole_patches(padded)
        return found._replace(
            pooled=self.pooled_by_itself(network.forward_head(network.forward_features(whole), pre_logits=True))
        )

    def final_norm(self) -> nn.Module | None:
        network: Any = self.network
        return network.fc_norm if self.late_norm else network.norm if self.normed and self.prefix else None

    def features_at(self, padded: Tensor, places: Sequence[int], norm: bool) -> list[Features]:
        parts = self._split(padded, places, norm=norm and not self.late_norm, stop_early=True)
        return [self._joined(*(self._late_normed(*part) if norm and self.late_norm else part)) for part in parts]

    def _late_normed(self, grid: Tensor, prefix: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Both through the norm that the model applies after its pooling."""
        norm: Any = self.network.fc_norm
        return norm(grid.movedim(1, -1)).movedim(-1, 1), norm(prefix) if prefix is not None else None

    def _joined(self, grid: Tensor, prefix: Tensor | None) -> Features:
        return Features(prefix[:, 0] if prefix is not None and self.has_cls else grid.mean((2, 3)), grid)

    def _whole_patches(self, seen: Tensor) -> Tensor:
        """Images without the last pixels that fill no patch, where the network would refuse them."""
        if not self.refuses_remainders:
            return seen
        height, width = (edge // self.patch * self.patch for edge in seen.shape[-2:])
        return seen[..., :height, :width]

    def _split(self, padded: Tensor, places: Sequence[int], **how: bool) -> list[tuple[Tensor, Tensor | None]]:
        """Grid, and the tokens before it if there are any, of some of timm's levels, in their order."""
        at_end = not self.prefix and list(places) == [len(levels(self.network)) - 1] and "stop_early" not in how
        try:
            found: Any = self.network.forward_intermediates(  # type: ignore[operator]
                self._whole_patches(padded),
                indices=sorted(set(places)),
                intermediates_only=not at_end,
                **how,
                **self.options,
            )
        except (AssertionError, RuntimeError, IndexError, ValueError) as error:
            if any(word in str(error) for word in ("memory", "Allocator", "CUDA", "device")):
                raise  # the machine stopped, not the network because of a size
            edges = tuple(padded.shape[-2:])
            why = " ".join(str(error).split())[:120] or type(error).__name__
            advice = "choose another" if edges == self.native else "make it for them with size=N, or choose another"
            raise UsageError(f"{self.label} takes no images of {edges[0]}x{edges[1]} ({why}); {advice}") from None
        end, maps = found if at_end else (None, found)
        by_place = dict(zip(sorted(set(places)), maps))
        if self.prefix:
            return [by_place[place] for place in places]
        # the model's own end, where it is of that shape, has been through the last activation as well
        if isinstance(end, Tensor) and end.shape == maps[-1].shape:
            return [(end, None)]
        return [(by_place[place], None) for place in places]


def _norms(network: nn.Module) -> bool:
    """Whether timm's intermediate features of a network may be asked for with the final norm."""
    try:
        network.forward_intermediates(None, norm=True, indices=[-1])  # type: ignore[operator]
    except AssertionError as error:
        return "not supported" not in str(error)
    except Exception:  # there is no image
        return True
    return True


def _norm_of_head(network: nn.Module) -> bool:
    """Whether a network's last norm stands in its head."""
    norm = getattr(getattr(network, "head", None), "norm", None)
    return isinstance(norm, nn.Module) and not isinstance(norm, nn.Identity)
