"""How far one prediction of classes is from another."""

from torch import Tensor


def divergence(attacked: Tensor, clean: Tensor) -> Tensor:
    """[B, ...]: the Kullback-Leibler divergence of the attacked prediction from the clean one, ``sum p_clean (log
    p_clean - log p_attacked)``, of logits [B, C, ...]."""
    before = clean.log_softmax(1)
    return (before.exp() * (before - attacked.log_softmax(1))).sum(1)
