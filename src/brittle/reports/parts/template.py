"""Pages of templates: one file each, in which every name is text, and whose policy forbids every address, and scripts
and styles but its own."""

import base64
import hashlib
from importlib.resources import files as resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from brittle.core.text import plain, shortened
from brittle.reports.parts.layout import GAP


def rendered(template: str, **values: Any) -> str:
    """The HTML of a template of ``assets/page``."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, loader=FunctionLoader(_asset)
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    filters: Any = environment.filters
    filters.update({"short": shortened, "exact": _exact})
    style, script = _asset("page.css"), _asset("page.js")
    shared = {"style": style, "script": script, "style_hash": _hash(style), "script_hash": _hash(script), "gap": GAP}
    return plain(environment.get_template(template).render(**shared, **values))


def _asset(name: str) -> str:
    return (resources("brittle") / "assets" / "page" / name).read_text(encoding="utf8")


def _hash(text: str) -> str:
    """What a content security policy knows a script or a style by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)
