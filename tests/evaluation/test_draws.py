"""A protocol says which random numbers attacks draw, so that earlier numbers can be had again."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from brittle.attacks.parts.image_store import ImageStore
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.records import Cell
from brittle.evaluation import loading, measure, protocol
from brittle.evaluation.machine import Machine
from brittle.planning import identity
from brittle.planning.protocols import DRAWS, canonical, draws_of
from brittle.types import frozen
from brittle.types.rng import VERSIONS, Rng
from brittle.types.threat import Threat


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cell_draws_what_its_protocol_says(cell_of: Callable[..., Cell], tmp_path: Path, version: int) -> None:
    cell = cell_of("noise", protocol=canonical(f"standard(draws={version})"))
    store = ImageStore(tmp_path)
    measure.measure(cell, Machine(batch_size=8, keep=True), "none", store)
    resolved = identity.resolve(cell)
    model, _ = measure.model_of(resolved, Machine())
    rule = protocol.standard(cell.dataset, model.task, 8)
    test = resolved.data("test")
    places = measure.inspection.places(cell.dataset, "test", *measure.inspection.drawn(cell))
    assert cell.eps is not None
    for batch in loading.batches(test, places, model.task, rule, Machine(batch_size=5)):
        rng, threat = Rng(cell.seed, batch.ids, version), Threat("linf", cell.eps)
        with frozen(model):
            wanted = components.build("attacks", "noise", model, batch, threat, rng)
        kept = store.get(batch.ids)
        assert kept is not None
        assert torch.equal(kept["images"], wanted)


def test_numbers_of_other_draws_are_other_numbers(cell_of: Callable[..., Cell]) -> None:
    ids = {identity.resolve(cell_of("pgd", protocol=text)).id for text in ("standard", "standard(draws=1)")}
    assert len(ids) == 2


def test_what_a_protocol_may_say() -> None:
    assert DRAWS == VERSIONS
    assert canonical("standard(draws=2)") == "standard"
    assert canonical("paper(draws=1)") == "paper(draws=1)"
    assert [draws_of(text) for text in ("standard", "standard(draws=1)")] == [2, 1]
    for wrong in ("3", "true", "1.5", "1.0", "[1]", "x"):
        with pytest.raises(UsageError, match="no version of draws"):
            canonical(f"standard(draws={wrong})")
