"""CosPGD: PGD on losses weighed by how well each pixel still agrees with its target."""

from brittle.attacks.parts.ascent import passes, pgd_on
from brittle.core.traits import AttackTraits

TRAITS = AttackTraits(version=2, needs=("per_pixel",), objective="cospgd", passes=passes)

cospgd = pgd_on("cospgd")
"""CosPGD (Agnihotri et al. 2023); settings as in ``pgd``, and the worst score kept."""
