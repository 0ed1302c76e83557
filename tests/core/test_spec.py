"""The spec grammar: what is read, what is refused, and in which words."""

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brittle.core import components, spec
from brittle.core.errors import UsageError
from brittle.core.spec import Spec

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
WORDS = st.text(max_size=12).filter(lambda text: not ("'" in text and '"' in text) and "\0" not in text)
SCALARS = (
    st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False) | WORDS
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.builds(Spec, NAMES, st.just("") | NAMES, st.dictionaries(NAMES, inner, min_size=1, max_size=2))
    ),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("scenes", Spec("scenes")),
        ("embedded:dino", Spec("embedded", "dino")),
        ("hf:facebook/dinov2-small", Spec("hf", "facebook/dinov2-small")),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", Spec("open_clip", "ViT-B-32/laion2b_s34b_b79k")),
        (
            "timm:vit_small_patch14_dinov2.lvd142m(size=518)",
            Spec("timm", "vit_small_patch14_dinov2.lvd142m", {"size": 518}),
        ),
        ("file:dino.pth(arch=dino_vitb16)", Spec("file", "dino.pth", {"arch": "dino_vitb16"})),
        ("pgd(steps=40, restarts=5)", Spec("pgd", "", {"steps": 40, "restarts": 5})),
        ("pgd()", Spec("pgd")),
        ("x(a=2/255)", Spec("x", "", {"a": 2 / 255})),
        ("x(a=-1e-3, b=.5, c=+2)", Spec("x", "", {"a": -0.001, "b": 0.5, "c": 2})),
        ("x(a=true, b=False, c=truest)", Spec("x", "", {"a": True, "b": False, "c": "truest"})),
        ("x(a=[1, two, 3/4, [true]])", Spec("x", "", {"a": [1, "two", 0.75, [True]]})),
        ("x(a='b, c=(d)', e=\"it's\")", Spec("x", "", {"a": "b, c=(d)", "e": "it's"})),
        (
            "pgd(objective=embedding(tokens=all))",
            Spec("pgd", "", {"objective": Spec("embedding", "", {"tokens": "all"})}),
        ),
        ("folder:/data/photos (1)", Spec("folder", "/data/photos (1)")),
        ("folder:/data/[new] (a, b)/x", Spec("folder", "/data/[new] (a, b)/x")),
        ("folder:/data/photos (1)(size=3)", Spec("folder", "/data/photos (1)", {"size": 3})),
        ("folder:C:/x=y", Spec("folder", "C:/x=y")),
    ],
)
def test_reads(text: str, wanted: Spec) -> None:
    found = spec.parse(text)
    assert found == wanted
    assert {key: type(value) for key, value in found.settings.items()} == {
        key: type(value) for key, value in wanted.settings.items()
    }
    assert spec.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", " ", "(", "1x", "x:", "x:  ", "x(", "x)", "x(a", "x(a=", "x(a=)", "x(a=1", "x(a=1,,b=2)", "x(a=1 b=2)",
     "x(a=[1)", "x(a=')", "x(a=1)(b=2)", "x(a=1)y",
     "x(1)", "x(a=1, a=2)", "x(a=1/0)", "x(a=1e999)", "x(a=y(b=1)", "x(a=1/2/3)", "-x", "x y"],
)  # fmt: skip
def test_refuses(text: str) -> None:
    with pytest.raises(UsageError) as error:
        spec.parse(text)
    assert "\n" not in str(error.value)


def test_names_the_setting_given_twice() -> None:
    with pytest.raises(UsageError, match="gives 'steps' twice"):
        spec.parse("pgd(steps=1, steps=2)")


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (spec.parse, spec.number):
        with contextlib.suppress(UsageError):
            read(text)


@given(st.text("abx01.-+/e:=,()[]'\" \n", max_size=24))
@settings(max_examples=500, deadline=None)
@example("a()")
def test_any_text_of_the_grammar_is_read_or_refused(text: str) -> None:
    for candidate in (text, f"x({text})", f"x(a={text})", f"x:{text}"):
        try:
            found = spec.parse(candidate)
        except UsageError:
            continue
        assert spec.parse(str(found)) == found


@given(NAMES, st.just("") | NAMES, st.dictionaries(NAMES, VALUES, max_size=3))
@settings(max_examples=200, deadline=None)
def test_round_trip(name: str, argument: str, values: dict[str, spec.Value]) -> None:
    made = Spec(name, argument, values)
    assert spec.parse(str(made)) == made


def test_depth_is_refused_not_a_recursion_error() -> None:
    with pytest.raises(UsageError):
        spec.parse("x(a=" + "[" * 100_000)


@pytest.mark.parametrize(
    ("text", "wanted"), [("8/255", 8 / 255), (" 8 / 255 ", 8 / 255), ("0.5", 0.5), ("1e-4", 1e-4), ("3", 3), ("-2", -2)]
)
def test_number(text: str, wanted: float) -> None:
    assert spec.number(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["nan", "NaN", "inf", "-inf", "Infinity", "1/0", "0/0", "1/0.0", "1e999", "1e99999", "-1e999", 
     "1" * 400, "1e308/1e-308", "", " ", "/",
     "1/", "/2", "1/2/3", "2**9", "2^9", "0x10", "1_000", "1,5", "__import__('os')", "8 255", "\u00bd", "True"],
)  # fmt: skip
def test_number_refuses(text: str) -> None:
    with pytest.raises(UsageError) as error:
        spec.number(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("attacks", "pdg", "no attack 'pdg'; did you mean 'pgd'?"),
        ("tuning", "decl", "no tuning method 'decl'; did you mean 'deacl'?"),
        ("datasets", "scene", "no data set 'scene'; did you mean 'scenes'?"),
        ("attacks", "pgd(step_s=3)", "no setting of 'pgd' called 'step_s'; did you mean 'steps'?"),
        ("attacks", "noise(x=1)", "no setting of 'noise' called 'x'"),
        ("attacks", "pgd:thing", "'pgd' takes nothing after a colon"),
    ],
)
def test_says_what_is_unknown(kind: str, text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        components.complete(kind, text)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


@pytest.mark.threat("eval")
@pytest.mark.parametrize("name", ["../cli", "__init__", "parts", "os", ""])
def test_only_components_are_imported(name: str) -> None:
    with pytest.raises(UsageError):
        components.component("datasets", name)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("attacks", "pgd(steps=-1)"),
        ("attacks", "pgd(steps=2.5)"),
        ("attacks", "pgd(steps=many)"),
        ("attacks", "pgd(steps=[1])"),
        ("attacks", "pgd(keep=first)"),
        ("attacks", "pgd(random_start=5)"),
        ("attacks", "pgd(step=0)"),
        ("attacks", "pgd(step=-0.1)"),
        ("attacks", "pgd(step=nan)"),
        ("attacks", "pgd(step=inf)"),
        ("attacks", "embed(distance=cosin)"),
        ("datasets", "scenes(train=-1)"),
        ("tuning", "deacl(eps=0)"),
        ("tuning", "deacl(gamma=nan)"),
        ("tuning", "deacl(gamma=inf)"),
    ],
)
def test_refuses_a_wrong_value(kind: str, text: str) -> None:
    with pytest.raises(UsageError) as error:
        components.complete(kind, text)
    message = str(error.value)
    assert "\n" not in message
    assert text.split("(")[0] in message
    assert text.split("(")[1].split("=")[0] in message


def test_complete_writes_every_setting_out() -> None:
    full = components.complete("attacks", "pgd(restarts=2)")
    assert full.settings == {
        "objective": "task_loss",
        "steps": 20,
        "step": 0.25,
        "random_start": True,
        "restarts": 2,
        "keep": "best",
    }
    assert components.complete("attacks", str(full)) == full


def test_summaries_are_read_without_an_import() -> None:
    for kind in components.KINDS:
        for name in components.names(kind):
            assert components.summary(kind, name), f"{kind}/{name}.py says nothing of itself"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("embed,pgd", ["embed", "pgd"]),
        ("embed, pgd(steps=3, keep=last) ", ["embed", "pgd(steps=3, keep=last)"]),
        ("worst(attacks=[pgd, embed]),pgd", ["worst(attacks=[pgd, embed])", "pgd"]),
        ("worst(attacks='a),b'),pgd", ["worst(attacks='a),b')", "pgd"]),
        ("embed,pdg", ["embed", "pdg"]),  # a slip of the pen is told as one
        ("stored:runs/a,b/c", ["stored:runs/a,b/c"]),
        ("stored:runs/a,pgd", ["stored:runs/a", "pgd"]),
        ("pgd", ["pgd"]),
    ],
)
def test_lists_with_commas(text: str, pieces: list[str]) -> None:
    assert spec.listed(text, {"embed", "pgd", "worst", "stored"}) == pieces


@given(
    st.lists(st.builds(Spec, NAMES, st.just(""), st.dictionaries(NAMES, VALUES, max_size=2)), min_size=1, max_size=3)
)
@settings(max_examples=60, deadline=None)
def test_specs_joined_by_commas_come_apart_again(specs: list[Spec]) -> None:
    texts = [str(each) for each in specs]
    assert spec.listed(",".join(texts), ()) == texts
