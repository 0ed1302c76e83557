"""``brittle list`` and ``brittle info``: the components of each kind, and what one of them is, takes and means."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from brittle.core import components, source
from brittle.core.errors import unknown
from brittle.core.spec import parse
from brittle.core.text import filled, show
from brittle.core.traits import predicted
from brittle.planning import words

PLANS = "plans"
WIDEST = 100  # characters of a line that is read as prose
RUN = "brittle run -e embedded:dino -d scenes"
EXAMPLES = {
    "encoders": 'brittle run -e "{}" -d scenes --limit 16',
    "models": 'brittle run --model "{}" -d scenes --limit 16',
    "datasets": 'brittle run -e embedded:dino -d "{}" --limit 16',
    "tasks": f'{RUN} -t "{{}}" --limit 16',
    "objectives": f'{RUN} -a "pgd(objective={{}})" --limit 16',
    "attacks": f'{RUN} -a "{{}}" --limit 16',
    "checks": f"{RUN} -a pgd --checks full --limit 16",
    "tuning": 'brittle finetune "{}" -e embedded:dino -d scenes',
    "reports": 'brittle report runs/demo --format "{}"',
    "launch": f'{RUN} --executor "{{}}" --limit 16',
    PLANS: "brittle run {}",
}
"""How a component of each kind is used."""
PRESETS = "presets (preset=NAME, on the command line --preset NAME); what is set beside one goes before it"
FACT, SETTING = 12, 22  # characters before what a fact or a setting is
FACTS = ("source", "licence", "layout", "protocol")
"""What a data set's traits say in words."""


def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="encoders, datasets, tasks, attacks, plans ...")
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of them, to see its settings.")] = None,
) -> None:
    """List the components of a kind, or of all. With a name as well: what that one is, as info says.

    \b
    Examples:
      brittle list
      brittle list attacks
      brittle list attacks pgd
    """
    kinds = (*components.KINDS, PLANS)
    if kind is not None and kind not in kinds:
        raise unknown("kind", kind, kinds)
    if kind and name:
        describe(name, (kind,))
        return
    for shown in (kind,) if kind else kinds:
        if kind is None:
            show(f"{shown}:")
        lead = "" if kind else "  "
        for each in _names(shown):
            line = f"{lead}{each:17} {'' if shown == PLANS else _brief(shown, each)}".rstrip()
            show(_wrapped(line, len(lead) + 18) if sys.stdout.isatty() else line)


def _brief(kind: str, name: str) -> str:
    """What a component is, and which presets it has."""
    named = ", ".join(source.presets(kind, name))
    return _read(components.summary(kind, name)) + (f" Presets: {named}." if named else "")


def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A component, such as pgd, or a packaged plan.")],
) -> None:
    """Say what a component is and what its settings mean. With their values and defaults, and an example.

    \b
    Examples:
      brittle info pgd
      brittle info ade20k
    """
    describe(name, (*components.KINDS, PLANS))


def _names(kind: str) -> tuple[str, ...]:
    return words.packaged() if kind == PLANS else components.names(kind)


def describe(text: str, kinds: Sequence[str]) -> None:
    """Show everything of a name, in each kind that has it; the settings of a spec are passed over."""
    name = parse(text).name
    found = [kind for kind in kinds if name in _names(kind)]
    if not found:
        what = components.singular(kinds[0]) if len(kinds) == 1 else "component"
        raise unknown(what, name, {each for kind in kinds for each in _names(kind)})
    show("\n\n".join(_plan(name) if kind == PLANS else _component(kind, name) for kind in found))


def _plan(name: str) -> str:
    return f"{_heading(f'plan {name}')}\n\n{words.text_of(name).rstrip()}\n\nexample\n  {EXAMPLES[PLANS].format(name)}"


def _component(kind: str, name: str) -> str:
    about = source.describe(kind, name)
    texts = [_wrapped(_read(text), 0) for text in (about.summary, *about.about)]
    facts = {key: str(about.traits.get(key, "")) for key in FACTS}
    facts["fetch"] = f"brittle data download {name}:DIR" if about.traits.get("download") else ""
    needs = about.traits.get("needs")
    settings = [_row(f"{name}:{source.example_argument(kind, name)}", about.argument)] if about.argument else []
    for each in about.settings:
        values = "" if each.meaning.startswith("spec") else f"{each.values}; "
        settings.append(_row(f"{each.name}={each.default or '...'}", f"{values}{each.meaning}"))
    presets = [_preset(each, *what) for each, what in about.presets.items()]
    parts = [
        _heading(f"{components.singular(kind)} {name}"),
        *texts,
        "\n".join(_row(key, value, FACT) for key, value in facts.items() if value),
        _wrapped(f"For tasks that predict {predicted(needs)}.", 0) if needs else "",
        "\n".join(["settings, with their defaults" if settings else "no settings", *settings]),
        "\n".join([_wrapped(PRESETS, 0), *presets]) if presets else "",
        f"example\n{_command(_example(kind, name, about))}",
    ]
    return "\n\n".join(part for part in parts if part)


def _preset(name: str, text: str, settings: Mapping[str, str]) -> str:
    """What a preset is, and on lines of their own what it sets."""
    said = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"{_row(name, text)}\n{_wrapped(' ' * SETTING + said, SETTING)}"


def _heading(text: str) -> str:
    return f"{text}\n{'-' * len(text)}"


def _example(kind: str, name: str, about: source.Description) -> str:
    argument = f":{source.example_argument(kind, name)}" if about.argument else ""
    steps = [f"({each.name}={each.default})" for each in about.settings if each.name == "steps"]
    return EXAMPLES[kind].format(f"{name}{argument}{''.join(steps)}")


def _row(name: str, text: str, indent: int = SETTING) -> str:
    """A name and what it is, which begins on the next line where the name is long."""
    lead = _wrapped(f"  {name}", 4)
    gap = "\n" + " " * indent if len(lead) > indent - 2 else " " * (indent - len(lead))
    return lead + gap + _wrapped(" " * indent + _read(text), indent).lstrip()


def _command(text: str) -> str:
    """A command, over several lines where the terminal is narrow, as a shell takes it."""
    return " \\\n".join(_wrapped(f"  {text}", 4, 2).splitlines())


def _wrapped(text: str, indent: int, spare: int = 0) -> str:
    """Lines no longer than the terminal, or than ``WIDEST``, less what is to be spared; no word is cut."""
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns) - spare
    return filled(text, max(width, indent + 20), indent)


def _read(text: str) -> str:
    """A docstring's text as it is read in a terminal."""
    return text.replace("``", "")
