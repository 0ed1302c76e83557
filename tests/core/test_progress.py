"""Progress: how long the rest of a run takes goes by what was measured, and a terminal's lines break between words."""

import io
import re
import sys

import pytest

from brittle.core import progress, text


class Clock:
    """Time that passes when told."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def _terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Stderr as a terminal; not a fixture, after which pytest would put its own in its place."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "quiet", False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return stream


def test_what_is_left_goes_by_the_measured_cost(clock: Clock) -> None:
    run = progress._Run({"clean": 0, "a": 10, "b": 30, "clean 2": 0, "c": 20})
    assert str(run) == "0/5 cells"
    clock.now += 7
    run.finish("clean")
    assert str(run) == "1/5 cells", "nothing is known yet of what attacks take"
    clock.now += 20
    run.finish("a")  # 2 s for each unit
    assert str(run) == "2/5 cells, 2 min left"  # 60 + 7 + 40
    clock.now += 20
    assert str(run) == "2/5 cells, 87 s left"
    clock.now += 40
    run.finish("b")
    assert str(run) == "3/5 cells, 47 s left"
    clock.now += 1000
    assert str(run) == "3/5 cells, 40 s left", "the clean one takes longer than the first did, and c as long as before"
    run.finish("unknown")
    run.finish("clean 2")
    run.finish("c")
    assert str(run) == "5/5 cells"


def test_no_line_on_a_terminal_is_cut_within_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _terminal(monkeypatch)
    words = "embedded:dino / scenes(train=128, val=64, test=64) / classification / pgd(steps=8) 8/255 linf (warm): x"
    with progress.whole({"a": 1, "b": 1}), progress.progress(words, 32) as advance:
        advance(8, "accuracy 0.412")
        progress.finished("a", words)
        progress._bars[0].refresh()  # type: ignore[attr-defined]
    out = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    lines = [line.strip() for line in re.split(r"[\r\n]+", out) if line.strip()]
    assert all(len(line) <= 80 for line in lines)
    assert any(line.startswith("━") and "0/2 cells" in line for line in lines)
    assert any(line.startswith("━") and "1/2 cells" in line for line in lines)
    assert any(re.fullmatch(r".*\(warm\): x 8/32 images \d+/s accuracy 0.412", line) for line in lines)
    assert " ".join(words.split()) in " ".join(" ".join(lines).split()), "a finished cell is said in whole"


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _terminal(monkeypatch)
    progress.say("failed: a cell that failed")
    assert terminal.getvalue() == "\x1b[31mfailed\x1b[0m: a cell that failed\n"
    for mark, colour in (("!", 31), ("?", 33)):
        progress.say(f"[1/2] a cell: accuracy 0.5 [0.1, 0.9] {mark}")
        assert terminal.getvalue().endswith(f"[0.1, 0.9]\x1b[{colour}m {mark}\x1b[0m\n")
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert text.tinted("failed", {"failed": "red"}, terminal) == "failed"
    assert text.tinted("failed", {"failed": "red"}, io.StringIO()) == "failed"


def test_elsewhere_a_line_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert text.folded("word " * 20, io.StringIO()) == "word " * 20
    assert max(map(len, text.folded("word " * 20 + "x" * 30, Terminal()).splitlines())) == 2 + 30


@pytest.mark.parametrize("width", range(20, 60))
def test_a_line_is_broken_within_no_word_and_no_interval(width: int) -> None:
    said = "[1/2] a-long-name(of=x) / b: accuracy 0.250 [0.046, 0.699] !"
    lines = text.filled(said, width).splitlines()
    assert " ".join(line.strip() for line in lines) == said
    assert any("[0.046, 0.699] !" in line for line in lines)
    assert max(map(len, lines)) <= width


def test_plain_lines_say_how_far_the_run_is(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_last_line", clock.now)
    with progress.whole({"a": 2, "b": 4}):
        clock.now += 5
        progress.finished("a")
        with progress.progress("b", 10) as advance:
            clock.now += 6
            advance(4, "accuracy 0.5")
    assert capsys.readouterr().err == "b 4/10 images, 0.7/s, 9 s left accuracy 0.5; 1/2 cells, 4 s left\n"
