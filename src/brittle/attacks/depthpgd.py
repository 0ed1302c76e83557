"""DepthPGD: PGD on the depth loss (SigLoss + 0.5 gradient loss), the paper's attack on depth."""

from brittle.attacks.parts.ascent import passes, pgd_on
from brittle.core.traits import AttackTraits

TRAITS = AttackTraits(version=2, needs=("metres", "per_pixel"), objective="task_loss", passes=passes)

depthpgd = pgd_on("task_loss")
"""DepthPGD (arXiv 2407.12588, 2024) with the loss as its formula means it; settings as in ``pgd``, and the worst score
kept."""
