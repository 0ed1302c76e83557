"""A hook of mkdocs: pages may link to files of the repository beside ``docs``, which the site then has as well."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)")
INSIDE = re.compile(r"\]\(docs/")


def on_files(files: Files, config: Any) -> Files:
    """Add every file outside that a page links to."""
    pages = [Path(page.abs_src_path or "").read_text(encoding="utf8") for page in files.documentation_pages()]
    for name in sorted({name for text in pages for name in OUTSIDE.findall(text)}):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_others: Any) -> str:
    """Links as they are from the site's root, where all pages lie."""
    return INSIDE.sub("](", OUTSIDE.sub(r"](\1", markdown))
