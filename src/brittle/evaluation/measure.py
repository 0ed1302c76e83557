"""One Cell in, one Result out: the head, the attack, the verdict on what the attack returned, and the score."""

import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from brittle.attacks.parts.image_store import ImageStore
from brittle.checks.parts.evidence import findings
from brittle.core import components
from brittle.core.errors import BrittleError, CellError, UsageError
from brittle.core.pictures import Picture
from brittle.core.progress import progress, say
from brittle.core.records import EVIDENCE, Cell, Finding, Result
from brittle.evaluation import heads, inspection, loading, networks, protocol, published, quirks
from brittle.evaluation.attacking import Adversary, Claim
from brittle.evaluation.cache import image_ids
from brittle.evaluation.compiled import compiled, worth
from brittle.evaluation.gallery import Gallery
from brittle.evaluation.machine import Machine, peak_bytes
from brittle.evaluation.paper import protocol_on
from brittle.evaluation.provenance import counted, facts_of, made_by
from brittle.evaluation.remembered import Remembered
from brittle.evaluation.scoring import Scores, Scoring, targeted
from brittle.planning.identity import Resolved, resolve, task_of
from brittle.planning.protocols import draws_of, quirks_of
from brittle.planning.warm_start import titled
from brittle.types import Batch, Encoder, LabelFree, Model, Network, frozen
from brittle.types.model import stopped
from brittle.types.threat import Threat

REMEMBERED = Remembered()
"""What heads that share an encoder score alike: clean images, and those of attacks that look at no head."""


@lru_cache(maxsize=1)
def encoder_of(text: str, device: str, weights: str) -> Encoder | Network:
    """The encoder, or the whole network, of a spec on a device; the last one is kept, as cells come grouped by it.

    Args:
        weights: what ``weights_of`` says of it.

    Raises:
        UsageError: it was read from other weights than those hashed.
    """
    compiled.cache_clear()  # it holds the one before
    encoder = components.build("encoders", text)
    if encoder.about.get("fingerprint", weights) != weights:
        what = f"{text}: its weights were changed after they were hashed ({weights[:12]})"
        raise UsageError(f"{what}; leave them alone and run again")
    return encoder.to(device).eval()


def model_of(resolved: Resolved, machine: Machine) -> tuple[Model, protocol.Protocol]:
    """Encoder and fitted head of a cell, or the whole network, in evaluation mode, and the protocol of its numbers."""
    encoder = encoder_of(resolved.cell.encoder, machine.device, resolved.weights)
    rule = protocol_on(resolved.cell.protocol, resolved.cell.dataset, resolved.task, encoder)
    if isinstance(encoder, Network):
        return networks.model_of(resolved, encoder, rule), rule
    encoder = quirks.encoder_of(encoder, rule)
    with frozen(encoder):
        head = heads.head(resolved, encoder, rule, machine)
    task, look, reads = resolved.task, rule.look, rule.moved or rule.reads
    return Model(task, head, encoder, window=rule.window, stride=rule.stride, look=look, reads=reads).eval(), rule


def try_network(cell: Cell, machine: Machine) -> None:
    """Have the whole network of a cell predict one image, so that what does not fit is found before any work starts.

    Raises:
        UsageError: it gives no prediction of the task, or none of the data set's classes; or passes no gradient on,
            where the attack follows one.
        CellError: it stops.
    """
    resolved = resolve(cell, machine.precision)
    model, rule = model_of(resolved, machine)
    if model.network:
        some = inspection.places(cell.dataset, "test", *inspection.drawn(cell))[:1]
        images = next(loading.batches(resolved.data("test"), some, resolved.task, rule, machine)).images
        with frozen(model), stopped(images, model.network):
            if resolved.attack and resolved.attack.passes.backwards:
                model.network.require_gradient(images)
            else:
                model(images)


class _Ready(NamedTuple):
    """What a cell is measured with."""

    resolved: Resolved
    model: Model
    rule: protocol.Protocol
    adversary: Adversary
    batches: Callable[[str, int | None], Iterator[Batch]]
    limit: int | None
    total: int


def _ready(
    cell: Cell, machine: Machine, images: ImageStore | None, earlier: ImageStore | None, claim: Claim | None
) -> _Ready:
    resolved = resolve(cell, machine.precision).pinned()
    if images and images.of not in ("", resolved.id):  # before an image of other weights stands among them
        changed = f"{cell.encoder} or its data changed since the run began, or are others on this machine"
        raise CellError(f"{changed}; leave weights and data alone and run again")
    limit, chosen = inspection.drawn(cell)
    total = len(inspection.places(cell.dataset, "test", limit, chosen))
    model, rule = model_of(resolved, machine)
    if model.encoder and not model.network and worth(resolved, model.encoder, rule, machine, total):
        model.encoder = compiled(model.encoder)
    names = frozenset(quirks_of(cell.protocol))

    def batches(split: str, count: int | None) -> Iterator[Batch]:
        some = inspection.places(cell.dataset, split, count, chosen)
        whole = loading.batches(resolved.data(split), some, resolved.task, rule, machine)
        return targeted(quirks.turned(whole, cell, resolved.task, names), model, resolved.attack is not None)

    seen, training = quirks.attacked(model, names, rule), partial(batches, "train")
    adversary = Adversary(resolved, seen, _threat(cell), images, machine.keep, earlier, training, claim)
    return _Ready(resolved, model, rule, adversary, batches, limit, total)


def _threat(cell: Cell) -> Threat:
    return Threat(cell.norm or "linf", cell.eps or 0.0)  # type: ignore[arg-type]


def measure(
    cell: Cell,
    machine: Machine,
    checks: str = "fast",
    images: ImageStore | None = None,
    earlier: ImageStore | None = None,
    claim: Claim | None = None,
) -> tuple[Result, bytes, Sequence[Picture]]:
    """The result of a cell, its per-image samples (an .npz file's bytes), and pictures of what was attacked.

    Args:
        checks: ``none``, ``fast`` or ``full``: the evidence to gather for an attacked number.
        images: where adversarial images are written down, so that an interrupted cell continues from there.
        earlier: where the cell of the next smaller budget left its own.
        claim: what other workers that ``assist`` are kept apart by; None where none does.

    Raises:
        BrittleError: the cell cannot be measured; nothing is ever scored from images outside the threat or predictions
            that are no numbers.
        Busy: another worker is making what this cell needs.
    """
    began = time.monotonic()
    odd = inspection.of_cell(cell)
    ready = _ready(cell, machine, images, earlier, claim)
    resolved, model, rule, total = ready.resolved, ready.model, ready.rule, ready.total
    task, attack, threat = model.task, resolved.attack, _threat(cell)
    odd = (*odd, *([] if attack else heads.at_edge(model.head, rule.recipe)))
    names = frozenset(quirks_of(cell.protocol))
    checkable = _checkable(resolved) and not names
    marked = quirks.scored(model, names, rule, attack.sees if attack else "")
    shared = REMEMBERED if not names and (attack is None or attack.headless) else None
    scoring = Scoring(marked, threat, total if checks != "none" and checkable else 0, shared)
    gallery = Gallery(marked, total)
    passed = networks.passed(model)
    with frozen(model), counted(passed) as passes:
        if claim:
            _attack_ahead(ready)
        with progress(titled(cell), total) as advance:
            for batch in ready.batches("test", ready.limit):
                odd = (*odd, *(networks.odd_unit(model, batch) if not attack and not scoring.ids else ()))
                made = ready.adversary(batch)
                damage = scoring.add(batch, made)
                if attack:
                    gallery.add(batch, made.images, damage)
                advance(len(batch.images), f"{task.headline} {scoring.headline():.3f}")
        scores = scoring.scores()
        odd = (*odd, *published.beside(cell, scores.metrics, scores.intervals))
        cost = {"seconds": round(time.monotonic() - began, 3), **passes}
        said: tuple[Finding, ...] = ()
        if attack and scoring.wanted:
            full, draws = checks == "full", draws_of(cell.protocol)
            precision = machine.precision
            said = findings(scoring.evidence(attack.spec, cell.seed, precision, scores, full=full, draws=draws))
    heads.check_unchanged(resolved, "test")
    cost["check_seconds"] = round(time.monotonic() - began - cost["seconds"], 3)
    origin = made_by(resolved, model, rule, machine, total)
    origin["checks"] = checks if checkable else EVIDENCE[-1]
    cost["peak_bytes"] = peak_bytes(machine.device)
    return *_result(resolved, scoring, scores, (*said, *odd), cost, origin), _pictures(resolved, gallery)


def assist(cell: Cell, machine: Machine, images: ImageStore, earlier: ImageStore | None, claim: Claim) -> int:
    """Attack batches of a cell that another worker measures, as long as there are any that nobody is at; how many they
    were.

    Raises:
        BrittleError, Busy: as ``measure``.
    """
    ready = _ready(cell, machine, images, earlier, claim)
    with frozen(ready.model):
        return _attack_ahead(ready)


def _attack_ahead(ready: _Ready) -> int:
    with progress(titled(ready.resolved.cell), ready.total) as advance:
        return ready.adversary.ahead(ready.batches("test", ready.limit), advance)


def _result(
    resolved: Resolved,
    scoring: Scoring,
    scores: Scores,
    said: Sequence[Finding],
    cost: Mapping[str, float],
    origin: Mapping[str, Any],
) -> tuple[Result, bytes]:
    attack = resolved.attack
    result = Result(
        id=resolved.id,
        cell=resolved.cell,
        task=facts_of(resolved.task),
        metrics=_finite(scores.metrics),
        metrics_uint8=_finite(scores.metrics_uint8),
        intervals=scores.intervals,
        images=len(scoring.ids),
        image_ids_sha256=image_ids(scoring.ids),
        findings=said,
        cost=cost,
        curve=tuple(scoring.curve()),
        made_by=origin,
        sees=attack.sees if attack else "",
    )
    names = _classes(resolved)
    classes = {"classes": np.array(names)} if names else {}
    return result, _npz({**scores.samples, **classes, "ids": np.array(scoring.ids)})


def _classes(resolved: Resolved) -> Sequence[str]:
    """The names of the classes that the task reads; none where its target has no classes."""
    kind = resolved.task.target
    return resolved.data("test").classes[kind.name] if kind and kind.classes else ()


def _pictures(resolved: Resolved, gallery: Gallery) -> Sequence[Picture]:
    """The pictures of a cell; none, and why is said, where they cannot be drawn: they are worth no number."""
    try:
        return gallery.pictures(_classes(resolved))
    except Exception as error:  # noqa: BLE001 - of an encoder or a task that others wrote
        say(" ".join(f"warning: no pictures of {resolved.cell}: {type(error).__name__}: {error}".split())[:300])
        return ()


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if math.isfinite(value)}


def _checkable(resolved: Resolved) -> bool:
    """Whether checks have anything to try again: not on a clean row, nor where the task has no labels or the images
    come from disk."""
    attack = resolved.attack
    return attack is not None and not isinstance(resolved.task, LabelFree) and attack.attack_traits.stored is None


def _npz(arrays: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def failure(cell: Cell, error: BrittleError, name: str) -> Result:
    """The row of a cell, of identity ``name``, that could not be measured."""
    return Result(id=name, cell=cell, task=facts_of(task_of(cell.task)), failed=str(error))
