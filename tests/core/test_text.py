"""Names that strangers chose are printed, and nothing else happens."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brittle.core import progress, text


@pytest.mark.parametrize(
    ("given_text", "printed"),
    [
        ("plain words, ä 犬 – × 8/255\nnext\tcolumn", None),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\rb\x08", "a\\rb\\x08"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("caf\udce9", "caf\\udce9"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_what_a_terminal_would_act_on_is_written_out(given_text: str, printed: str | None) -> None:
    assert text.plain(given_text) == (given_text if printed is None else printed)


@given(st.text())
def test_plain_text_can_always_be_encoded_and_moves_nothing(given_text: str) -> None:
    found = text.plain(given_text)
    found.encode()
    assert not any(ord(each) < 32 and each not in "\n\t" for each in found)
    assert text.plain(found) == found


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_no_encoding_of_the_output_ends_a_run(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    text.printable_output()
    text.show("0.5 – 犬 … ─")
    stream.seek(0)
    assert stream.read().startswith("0.5 – " if encoding in ("utf-8", "cp1252") else "0.5 - ")


def test_brackets_in_a_name_are_no_markup_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "quiet", False)
    monkeypatch.setenv("TERM", "xterm")
    name = "runs/[/b]/[red]x[bold]\x1b[2J"
    with progress.progress(name, 2) as advance:
        advance(1, "[/i]")
        progress.say(f"{name} is read")
        advance(1)
    assert "runs/[/b]/[red]x[bold]\\x1b[2J is read" in stream.getvalue().replace("\n", "")
