"""LaTeX that compiles whatever names are in it: text written so that it is printed as it stands, and tables of
booktabs."""

import re
from collections.abc import Sequence

from brittle.core.text import plain, shortened

NEEDS = r"% needs \usepackage{booktabs}"
LONGEST = 44  # characters of a name
HEAD = 10  # characters of a line in the head of a column
WRITTEN = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\n": " ",
    "±": r"$\pm$",
    "×": r"$\times$",  # noqa: RUF001
    "–": r"\textendash{}",  # noqa: RUF001
    "…": r"\ldots{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}
"""What LaTeX would act on or print as something else, and how it is written there."""
LETTERS = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")
"""What every font of pdfLaTeX has beyond ASCII; any other letter would end the compilation and is written out."""


def escaped(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return re.sub("-(?=-)|[?!](?=`)", r"\g<0>{}", "".join(map(_written, plain(text))))  # else a dash, or another letter


def name(text: str) -> str:
    """A name, its middle left out where it is long."""
    return escaped(shortened(text, LONGEST))


def _written(letter: str) -> str:
    if letter in WRITTEN:
        return WRITTEN[letter]
    if letter.isascii() or letter in LETTERS:
        return letter
    return letter.encode("unicode_escape").decode().replace("\\", WRITTEN["\\"])


def head(text: str) -> str:
    """The head of a column, in as many lines as it needs, broken where the parts of a spec meet."""
    lines = [""]
    for part in re.findall(rf"[^\s(=,]{{1,{HEAD}}}[(=,]?\s*|\S\s*", shortened(text, LONGEST)):
        if len(f"{lines[-1]}{part}".rstrip()) > HEAD + 1:  # a bracket or a comma may stand beyond
            lines.append("")
        lines[-1] += part
    lines = [line.rstrip() for line in lines if line] or [""]
    joined = r" \\ ".join(_apart(escaped(line)) for line in lines)
    return joined if len(lines) == 1 else f"\\shortstack[r]{{{joined}}}"


def across(text: str, width: int) -> str:
    """A cell over ``width`` columns."""
    return f"\\multicolumn{{{width}}}{{l}}{{{text}}}"


def bold(text: str, on: bool = True) -> str:
    """LaTeX in bold, where it is to be."""
    return f"\\textbf{{{text}}}" if on else text


def table(heads: Sequence[str], blocks: Sequence[Sequence[str]], caption: str) -> str:
    """A floating table to be pasted: the first column left, the others right, a line between blocks of rows. Everything
    but the caption is LaTeX."""
    rules: list[str] = []
    for block in blocks:
        rules += ["\\midrule", *block]
    return "\n".join(
        [
            "\\begin{table}",
            "\\centering\\small\\setlength{\\tabcolsep}{3pt}",
            f"\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            "\\toprule",
            row(heads),
            *rules,
            "\\bottomrule",
            "\\end{tabular}",
            f"\\caption{{{escaped(caption)}}}",
            "\\end{table}",
        ]
    )


def row(cells: Sequence[str]) -> str:
    """A row of cells that are LaTeX."""
    return _apart(" & ".join(cells)) + r" \\"


def _apart(line: str) -> str:
    """A line that begins with nothing which the end of the line before would take for an option of its own."""
    return f"{{}}{line}" if line[:1] in ("[", "*") else line


def remark(line: str) -> str:
    """A comment, which is not printed."""
    return f"% {' '.join(plain(line).split())}"
