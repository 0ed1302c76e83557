"""The protocol of the paper (arXiv 2407.12588, 2024) as its released code has it, with quirks where asked."""

from collections.abc import Sequence
from dataclasses import replace

from brittle.evaluation.probe import Recipe
from brittle.evaluation.protocol import Protocol, of_network, rules_of, standard
from brittle.planning.protocols import is_paper, is_quick, quirks_of, views_of
from brittle.types import Encoder, Look, Network, Task

STRIDES = {224: 100, 518: 341}
"""Of its windows, by the edge of the encoder's images; other edges are given the share of 518's."""
LAST = Look((-1,), norm=False)
RED = 0.228 / 0.229
PAD = 14
_CONSTANT = Recipe(schedule="constant", steps=1, many=0, standardise=False, patience=0, fine=0)
CLASSIFICATION = replace(_CONSTANT, optimiser="adam", rates=(0.5,), decay=0.0, batch=128, epochs=5)
SEGMENTATION = replace(_CONSTANT, rates=(1e-3,), decay=1e-4, batch=16, epochs=50)
DEPTH = replace(_CONSTANT, rates=(1e-4,), decay=1e-2, batch=128, epochs=20)


def protocol_of(text: str, dataset: str, task: Task, size: int) -> Protocol:
    """The protocol that a spec names, of a data set x task for an encoder of edge ``size``.

    Args:
        text: spec of the protocol.
        dataset: its spec.
    """
    usual = replace(standard(dataset, task, size), views=tuple(views_of(text)))
    if is_quick(text):
        usual = replace(usual, recipe=usual.recipe.quickly())
    return _with(quirks_of(text), _paper(usual, dataset, task), dataset, task) if is_paper(text) else usual


def protocol_on(text: str, dataset: str, task: Task, encoder: Encoder | Network) -> Protocol:
    """The same on an encoder, whose layers a task's own choice of a head names before the protocol does; on a whole
    network, its own way with images."""
    if isinstance(encoder, Network):
        return of_network(dataset, task, encoder)
    rule, own = protocol_of(text, dataset, task, encoder.size), task.look_on(encoder)
    return rule if own == task.look else replace(rule, look=own)


def _paper(usual: Protocol, dataset: str, task: Task) -> Protocol:
    """The standard protocol with the paper's values in place of its own."""
    if task.target is None or not task.target.dense:
        return replace(usual, recipe=CLASSIFICATION, pixels="bilinear")
    if "metres" in task.abilities:
        return replace(usual, recipe=DEPTH, pixels="bilinear", valid=None, look=LAST, moved=("grid",))
    size = usual.size
    return replace(
        usual,
        recipe=SEGMENTATION,
        pixels="bilinear",
        resize="short",
        window=size,
        stride=STRIDES.get(size, round(size * STRIDES[518] / 518)),
        background=rules_of(dataset, task.target).get("background"),
    )


def _with(quirks: Sequence[str], rule: Protocol, dataset: str, task: Task) -> Protocol:
    """The protocol with those quirks that change images, targets or heads."""
    masks = task.target is not None and task.target.dense and "classes" in task.abilities
    depth = "metres" in task.abilities
    background = rules_of(dataset, task.target).get("background")
    changes = {
        "std_228": {"red": RED},
        "chosen_on_test": {"chosen_on": "test"},
        "padding_14": {"pad": PAD} if depth else {},
        "nearest_images": {"pixels": "nearest"} if masks else {},
        "resized_masks": {"resized_masks": True} if masks else {},
        "void_as_background": {"void_as": background} if masks else {},
    }
    for name in quirks:
        rule = replace(rule, **changes.get(name, {}))
    return rule
