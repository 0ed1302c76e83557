"""One walker over a spec's tree: what an attack sees, needs, aims at, is made of and costs, however it is wrapped."""

import pytest
from tiny import ATTACKS, tiny_batch, tiny_model

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.traits import AttackTraits, EncoderTraits
from brittle.core.tree import forget, tree
from brittle.planning import sweep, warm_start
from brittle.types import frozen
from brittle.types.rng import Rng
from brittle.types.threat import Threat


@pytest.mark.parametrize(
    ("text", "sees", "headless", "aimed"),
    [
        ("pgd", "head", False, False),
        ("fab", "head", False, False),
        ("noise", "nothing", True, False),
        ("embed(tokens=all)", "encoder", True, False),
        ("pgd(objective=embedding)", "encoder", True, False),
        ("embed(keep=score)", "encoder", False, False),  # so does the choice of an iterate
        ("curve(attack='padam(objective=embedding)')", "encoder", False, False),
        ("padam(objective=embedding, keep=best)", "encoder", True, False),
        ("curve(attack=embed)", "encoder", True, False),
        ("curve(attack=curve(attack=pgd(objective=embedding)))", "encoder", True, False),
        ("embed_worst", "encoder", False, False),  # it picks by the score of the head
        ("worst(attacks=[embed, noise])", "encoder", False, False),
        ("worst(attacks=[embed, pgd])", "head", False, False),
        ("warm(attack=noise, eps=[0.01])", "nothing", False, False),
        ("universal(objective=embedding)", "encoder", True, False),
        ("pgd(objective=targeted)", "head", False, True),
        ("curve(attack=apgd(objective=targeted))", "head", False, True),
        ("worst(attacks=[pgd(objective=targeted)])", "head", False, False),  # judged by damage
        ("autoattack", "head", False, False),
        ("sea", "head", False, False),
    ],
)
def test_what_is_followed_and_aimed_at(text: str, sees: str, headless: bool, aimed: bool) -> None:
    part = tree("attacks", text)
    assert (part.sees, part.headless, part.aimed) == (sees, headless, aimed)
    wrapped = text == "warm(attack=noise, eps=[0.01])"  # what is in it decides
    afresh = headless or aimed or wrapped or part.attack_traits.learns is not None
    text = components.canonical("attacks", text)
    assert (warm_start.warmed(text, [0.01]) == text) == afresh
    assert warm_start.warmed(text, []) == text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("segpgd", {"attacks.segpgd", "objectives.segpgd"}),
        (
            "embed_worst",
            {
                "attacks.embed_worst",
                "attacks.embed",
                "attacks.pgd",
                "attacks.padam",
                "objectives.embedding",
                "objectives.relations",
            },
        ),
        (
            "autoattack",
            {
                "attacks.autoattack",
                "attacks.apgd",
                "attacks.fab",
                "attacks.square",
                "objectives.dlr",
                "objectives.task_loss",
            },
        ),
        ("worst(attacks=[pgd(objective=l1)])", {"attacks.worst", "attacks.pgd", "objectives.l1"}),
    ],
)
def test_versions_are_those_of_every_part(text: str, parts: set[str]) -> None:
    assert set(tree("attacks", text).versions) == parts


def test_members_follow_the_settings() -> None:
    steps = [part.spec.settings["steps"] for part in tree("attacks", "sea(steps=7, attacks=[])").parts]
    assert steps == [7, 7, 7]


@pytest.mark.parametrize(
    ("text", "task", "words"),
    [
        (
            "autoattack",
            "segmentation",
            "'autoattack' needs classes per image; segmentation predicts classes per",
        ),
        ("cospgd", "classification", "attack 'cospgd' needs predictions per pixel"),
        ("pgd(objective=targeted)", "depth", "objective 'targeted' needs classes; depth predicts metres per pixel"),
        ("worst(attacks=[pgd, depth_worst])", "segmentation", "attack 'depth_worst' needs metres per pixel"),
        ("segpgd", "representation", "representation predicts neither classes nor metres"),
    ],
)
def test_what_does_not_fit_a_task_is_named_with_the_reason(text: str, task: str, words: str) -> None:
    assert words in sweep.misfit("attacks", text, task)


def test_an_attack_that_learns_stands_alone() -> None:
    with pytest.raises(UsageError, match="universal learns from training images .* run it by itself"):
        tree("attacks", "worst(attacks=[pgd, universal])")


def test_a_member_of_itself_is_refused() -> None:
    traits = AttackTraits(members=lambda: ["worst(attacks=[again])"])
    components.hand_over("attacks", "again", components.Component(lambda *_arguments: None, traits))
    try:
        with pytest.raises(UsageError, match="member of itself"):
            tree("attacks", "again")
    finally:
        components.take_back("attacks", "again")
        forget()


def test_a_targeted_attack_begins_afresh_however_often_it_is_wrapped() -> None:
    text = "warm(attack=pgd(objective=targeted), eps=[0.01])"
    assert warm_start.warmed(text, [0.02]) == text


def test_every_module_declares_the_record_of_its_kind() -> None:
    for kind in components.KINDS:
        for name in components.names(kind):
            traits = components.component(kind, name).traits
            assert isinstance(traits, components.RECORDS.get(kind, components.Traits)), f"{kind}/{name}"


def test_a_record_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import brittle.attacks.noise as module

    monkeypatch.setattr(module, "TRAITS", EncoderTraits(fingerprint=str))
    components._in_folder.cache_clear()
    try:
        with pytest.raises(UsageError, match="TRAITS is a EncoderTraits; it must be AttackTraits"):
            components.component("attacks", "noise")
    finally:
        components._in_folder.cache_clear()


COSTED = [
    (name, task)
    for name in components.names("attacks")
    for task in ("classification", "segmentation", "depth")
    if not ATTACKS[name].given and not sweep.misfit("attacks", name, task)
    if name not in ("universal", "warm", "curve")  # learnt once, made of several cells, and followed by its caller
]


@pytest.mark.parametrize(("name", "task"), COSTED)
def test_no_attack_costs_more_passes_than_it_says(name: str, task: str) -> None:
    model, batch = tiny_model(task), tiny_batch(task)
    assert model.encoder is not None
    part = tree("attacks", ATTACKS[name].spec)
    with frozen(model):
        components.build("attacks", part.spec, model, batch, Threat("linf", 8 / 255), Rng(0, batch.ids))
    counted, said = model.encoder.tally, part.passes
    assert counted["forwards"] <= said.forwards
    assert counted["backwards"] <= said.backwards
    if not ATTACKS[name].spares and name not in ("fab", "square"):  # which stop where nothing is right any more
        assert counted["forwards"] >= 0.7 * said.forwards
        assert counted["backwards"] >= 0.7 * said.backwards
    assert AttackTraits().passes(steps=9) == (0, 0)
