"""What a spec stands for as a whole: the component it names and those that its settings, its objective and its members
name in turn, and what follows of their traits."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeVar

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.spec import Spec
from brittle.core.traits import AttackTraits, ObjectiveTraits, Passes, Sees, Traits

Record = TypeVar("Record", bound=Traits)
MOST_TO_LEAST: tuple[Sees, ...] = ("head", "encoder", "nothing")


@dataclass(frozen=True)
class Part:
    """A component within a spec, and the ``parts`` it uses.

    Args:
        spec: complete.
    """

    kind: str
    spec: Spec
    traits: Traits
    parts: tuple["Part", ...]

    def walk(self) -> Iterator["Part"]:
        """This part, then all parts within it."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def having(self, record: type[Record]) -> Iterator[tuple["Part", Record]]:
        """Those of ``walk`` whose traits are of one kind's record."""
        return ((part, part.traits) for part in self.walk() if isinstance(part.traits, record))

    @property
    def attack_traits(self) -> AttackTraits:
        """The traits of a part that is an attack."""
        assert isinstance(self.traits, AttackTraits), self
        return self.traits

    @cached_property
    def versions(self) -> dict[str, int]:
        """``KIND.NAME`` of every part and the version of what it computes."""
        return {f"{part.kind}.{part.spec.name}": part.traits.version for part in self.walk()}

    @cached_property
    def sees(self) -> Sees:
        """What of a model is followed: by its own word, else the most that any part follows, else the head."""
        own = self.traits.sees if isinstance(self.traits, (AttackTraits, ObjectiveTraits)) else None
        inner: list[Sees] = [part.sees for part in self.parts]
        return own or (min(inner, key=MOST_TO_LEAST.index) if inner else "head")

    @cached_property
    def headless(self) -> bool:
        """Whether an attack's images depend on no head and no target, so that one set serves every head."""
        return self.sees != "head" and not any(
            traits.picks or traits.by_score(**part.spec.settings) for part, traits in self.having(AttackTraits)
        )

    @cached_property
    def reads_as_head(self) -> bool:
        """Whether it follows those features that the head reads."""
        return any(traits.reads(part.spec.settings) for part, traits in self.having(ObjectiveTraits) if traits.reads)

    @cached_property
    def aimed(self) -> bool:
        """Whether it climbs towards classes of the attacker's choice; what picks by the score of the head does not."""
        if isinstance(self.traits, ObjectiveTraits):
            return self.traits.aimed
        return not getattr(self.traits, "picks", False) and any(part.aimed for part in self.parts)

    @cached_property
    def passes(self) -> Passes:
        """How often an image goes through the encoder, at most."""
        own = self.traits.passes(**self.spec.settings) if isinstance(self.traits, AttackTraits) else Passes(0, 0)
        return Passes(*map(sum, zip(own, *(part.passes for part in self.parts))))

    @cached_property
    def fewest(self) -> Passes:
        """The same at least: where images are right or wrong, a climb may be over with its first step, and the first
        member of an ensemble leave none that is right for the others."""
        traits, settings, own = self.traits, self.spec.settings, Passes(0, 0)
        if isinstance(traits, AttackTraits):
            soon = traits.fewest(**settings) if self.sees == "head" else None
            own = soon or traits.passes(**settings)
        members = [part for part in self.parts if part.kind == self.kind]
        stops = isinstance(traits, AttackTraits) and traits.picks and not traits.whole_set
        parts = members[:1] if stops and members else self.parts
        return Passes(*map(sum, zip(own, *(part.fewest for part in parts))))


def tree(kind: str, spec: Spec | str) -> Part:
    """The tree of a spec.

    Raises:
        UsageError: a spec in it makes no sense, or within an attack stands one that must learn first.
    """
    return _tree(kind, str(spec))


def forget() -> None:
    """Forget every tree, as a component that one may name is gone."""
    _tree.cache_clear()


@cache
def _tree(kind: str, text: str) -> Part:
    full = components.complete(kind, text)
    traits = components.component(kind, full.name).traits
    if traits.names:
        other, named = components.meant(kind, full)
        return Part(kind, full, traits, (tree(other, named),))
    inner = [
        (components.kind_of(key), each)
        for key, value in full.settings.items()
        for each in components.nested(key, value)
    ]
    if isinstance(traits, AttackTraits):
        climbed = traits.objective(**full.settings) if callable(traits.objective) else traits.objective
        inner += [("objectives", climbed)] if climbed else []
        inner += [("attacks", each) for each in (traits.members(**full.settings) if traits.members else ())]
    try:
        parts = tuple(tree(*each) for each in inner)
    except RecursionError:
        raise UsageError(f"{text}: it is a member of itself; name other attacks as its members") from None
    for part in parts:
        if isinstance(part.traits, AttackTraits) and part.traits.learns:
            name = part.spec.name
            raise UsageError(
                f"{text}: {name} learns from training images before it attacks; run it by itself, with -a {name}"
            )
    return Part(kind, full, traits, parts)
