"""A page in one file that opens from disk and loads nothing: the answer, the tables, the figures, and where each number
comes from."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files as resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from brittle.core.records import Result
from brittle.core.text import plain, shortened
from brittle.core.traits import ReportTraits
from brittle.reports.parts import page
from brittle.reports.parts.shots import Pictures

TRAITS = ReportTraits(ending=".html", beside="pictures")
RATIO = (
    "The damage by the strongest attack on the encoder alone, as a share of that by the strongest attack on encoder "
    "and head, at the largest budget that has both."
)


def html(results: Sequence[Result], pictures: Pictures = lambda _id: (), /) -> str:
    """HTML, with as many ``pictures`` as there is room for. Names in it are text, never markup; its policy forbids
    every address, and scripts and styles but its own."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    filters: Any = environment.filters
    filters.update({"short": shortened, "exact": _exact})
    style, script = _asset("page.css"), _asset("page.js")
    made = environment.from_string(_asset("page.html")).render(
        **page.view(results, pictures),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        ratio_about=RATIO,
    )
    return plain(made)


def _asset(name: str) -> str:
    return (resources("brittle") / "assets" / "page" / name).read_text(encoding="utf8")


def _hash(text: str) -> str:
    """What a content security policy knows a script or a style by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)
