"""The words of plans, and the plans that come with the package: what reports and lists read without a plan."""

from importlib.resources import files as resources

DOWNSTREAM = "downstream"
"""Among the attacks of a plan, what stands for each task's own."""
UNNAMED = "run"
"""The name of a plan that was given none."""
SHARED = ("encoders", "datasets", "limit", "protocol")
"""What all numbers of a run folder that nobody named have in common."""
CLEAN = "clean"
"""Among them, what asks for the clean row, which is always measured."""


def text_of(name: str) -> str:
    """The file of a packaged plan."""
    return (resources("brittle") / "plans" / f"{name}.yaml").read_text(encoding="utf8")


def packaged() -> tuple[str, ...]:
    """Names of the plans that come with the package."""
    folder = resources("brittle") / "plans"
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))
