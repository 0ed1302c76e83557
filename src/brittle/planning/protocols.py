"""The protocols by name, and what a spec may set of them; no torch."""

from collections.abc import Iterable, Mapping, Sequence

from brittle.core import components
from brittle.core.errors import UsageError, unknown
from brittle.core.spec import Spec, Value, parse

SUBSETS = ("balanced", "first")
"""Which images a limit leaves, the default first; see ``brittle.evaluation.subset``."""
VIEWS = ("flips", "crops")
"""What else than the images themselves heads may be fitted on; see ``brittle.evaluation.views``."""
HEADS = ("full", "quick")
"""How long heads are fitted, the default first; see ``brittle.evaluation.recipe``."""
DRAWS = (2, 1)
"""Versions of the random numbers of attacks, the default first; see ``brittle.types.rng``."""
QUIRKS: Mapping[str, str] = {
    "std_228": "images are normalised by a standard deviation of 0.228 in red, not 0.229",
    "nearest_images": "images of masks are resized to the nearest pixel, without a filter",
    "resized_masks": "masks are resized with their images, nearest, and scored there",
    "void_as_background": "void pixels count as background, where a data set has that class",
    "random_flips": "half of the depth images are mirrored, drawn anew for each number",
    "shuffled_images": "each attack sees its own 1,000 images where images are classified",
    "chosen_on_test": "heads are chosen on the test split",
    "padding_14": "depth images are padded on both sides to multiples of 14, whatever the patch, then cut",
    "softmax_windows": "the softmax of windows is averaged, not their logits",
    "divided_logits": "PGD on labels divides logits by the largest one where that is above 1",
    "double_softmax": "attacks on masks take the cross entropy of probabilities",
    "groups_apart": "right and wrong pixels are averaged apart, so that a small group weighs as much as a large one",
    "background_ignored": "attacks on masks leave out what is truly background, though it is a class of the head",
    "sigloss_warmup": "attacks on depth climb 0.387 times the size of the mean log ratio in place of the whole SigLoss",
    "gradient_rows": "the gradient loss of attacks on depth sees differences between rows alone",
    "last_iterate": "attacks return their last iterate, not their best",
    "unnormalised_dense": "images attacked through a head of masks or depth are scored without normalisation",
    "depth_unmasked": "attacked depth is scored on pixels without valid depth too",
    "precision_as_accuracy": "mean accuracy divides by predicted pixels, so that it is precision",
}
"""What the released code of arXiv 2407.12588 does otherwise than its text, each by name."""
SETTINGS: Mapping[str, Sequence[str]] = {
    "standard": ("subset", "views", "heads", "draws"),
    "paper": ("subset", "views", "quirks", "draws"),
}
PROTOCOLS = tuple(SETTINGS)
CLASSIFIED = 1000  # images that the paper's code classifies in each data set


def canonical(text: str) -> str:
    """The spec of a protocol without settings left at their defaults, such as ``paper(quirks=[std_228])``; quirks in
    the order of ``QUIRKS``.

    Raises:
        UsageError: no such protocol, setting or value.
    """
    spec = parse(text)
    if spec.name not in SETTINGS:
        raise unknown("protocol", spec.name, PROTOCOLS)
    if spec.argument:
        raise UsageError(f"protocol {text}: {spec.name} takes no argument; write {spec.name}(subset=first)")
    for key in spec.settings:
        if key not in SETTINGS[spec.name]:
            raise unknown(f"setting of protocol {spec.name} called", key, SETTINGS[spec.name])
    subset = spec.settings.get("subset", SUBSETS[0])
    if subset not in SUBSETS:
        raise unknown("subset", str(subset), SUBSETS)
    heads = spec.settings.get("heads", HEADS[0])
    if heads not in HEADS:
        raise unknown("heads", str(heads), HEADS)
    draws = spec.settings.get("draws", DRAWS[0])
    if type(draws) is not int or draws not in DRAWS:  # neither true nor 1.0
        raise unknown("version of draws", str(draws), [str(each) for each in DRAWS])
    quirks, views = quirks_of(text), views_of(text)
    settings: dict[str, Value] = {} if subset == SUBSETS[0] else {"subset": subset}
    if heads != HEADS[0]:
        settings["heads"] = heads
    if draws != DRAWS[0]:
        settings["draws"] = draws
    if views:
        settings["views"] = "all" if len(views) == len(VIEWS) else list[Value](views)
    if quirks:
        settings["quirks"] = "all" if len(quirks) == len(QUIRKS) else list[Value](quirks)
    return str(Spec(spec.name, "", settings))


def _listed(value: object, kind: str, known: Iterable[str]) -> list[str]:
    """What a setting names of ``known``, in the order there."""
    if value == "all":
        return list(known)
    names = [str(each) for each in (value if isinstance(value, (list, tuple)) else [value])]
    for name in names:
        if name not in known:
            raise unknown(kind, name, [*known, "all"])
    return [name for name in known if name in names]


def subset_rule(text: str, number: str = "") -> str:
    """Which images a limit leaves under a protocol.

    Args:
        number: what tells a number whose images are drawn anew from others; empty where none are.
    """
    if number and "shuffled_images" in quirks_of(text):
        return f"anew for {number}"
    return str(parse(text).settings.get("subset", SUBSETS[0]))


def quirks_of(text: str) -> list[str]:
    """The quirks of a protocol."""
    return _listed(parse(text).settings.get("quirks", []), "quirk", QUIRKS)


def views_of(text: str) -> list[str]:
    """What a protocol has heads fitted on besides the training images."""
    return _listed(parse(text).settings.get("views", []), "view", VIEWS)


def is_quick(text: str) -> bool:
    """Whether a protocol has heads fitted quickly."""
    return parse(text).settings.get("heads") == HEADS[1]


def draws_of(text: str) -> int:
    """The version of the random numbers that attacks draw under a protocol."""
    return int(str(parse(text).settings.get("draws", DRAWS[0])))


def is_paper(text: str) -> bool:
    """Whether a protocol is that of the paper."""
    return parse(text).name == "paper"


def attack_of(text: str, attack: str) -> str:
    """The attack that a protocol runs for an attack's spec: with ``last_iterate`` one that returns its last iterate,
    where the spec does not say which."""
    spec = parse(attack)
    full = components.complete("attacks", attack)
    if "last_iterate" not in quirks_of(text) or "keep" in spec.settings or "keep" not in full.settings:
        return attack
    return str(Spec(spec.name, spec.argument, {**spec.settings, "keep": "last"}))


def limit_of(text: str, limit: int | None, dense: bool) -> int | None:
    """How many test images a protocol leaves of so many, None for all of them.

    Args:
        dense: whether the task has a target for each pixel.
    """
    if limit is None and is_paper(text) and not dense:
        return CLASSIFIED
    return limit
