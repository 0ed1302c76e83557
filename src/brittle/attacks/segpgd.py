"""SegPGD: PGD on the schedule that moves from right pixels to wrong ones, the paper's attack on segmentation."""

from brittle.attacks.parts.ascent import passes, pgd_on
from brittle.core.traits import AttackTraits

TRAITS = AttackTraits(version=2, needs=("classes", "per_pixel"), objective="segpgd", passes=passes)

segpgd = pgd_on("segpgd")
"""SegPGD (Gu et al. 2022); settings as in ``pgd``, and the worst score kept."""
