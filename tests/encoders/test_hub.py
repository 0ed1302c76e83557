"""A hub that does not answer is asked once, said in a line, and then what is in its cache is used."""

import threading
from collections.abc import Callable, Iterator

import huggingface_hub.utils
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from brittle.encoders.parts import hub


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], object]], list[str]]]:
    """Have the hub's client do something else where it asks; gives the list of what was asked."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "WAIT", 0.2)
    hub._answers.cache_clear()

    def put(act: Callable[[], object]) -> list[str]:
        asked: list[str] = []

        class Session:
            def head(self, url: str, timeout: float) -> object:
                asked.append(url)
                return act()

        monkeypatch.setattr(huggingface_hub.utils, "get_session", Session)
        return asked

    yield put
    hub._answers.cache_clear()


def _refuse() -> object:
    raise OSError("Name or service not known")


@pytest.mark.parametrize("act", [_refuse, lambda: threading.Event().wait(3)])
def test_one_that_does_not_answer(session, act, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(hub.time, "monotonic", lambda: 7.0)
    asked = session(act)
    for _ in range(3):
        with hub.asked():
            assert constants.HF_HUB_OFFLINE
        assert not constants.HF_HUB_OFFLINE
    assert len(asked) == 1
    assert capsys.readouterr().err == f"{constants.ENDPOINT} cannot be reached; only what is in its cache is used\n"


def test_one_that_answers(session, capsys: pytest.CaptureFixture[str]) -> None:
    asked = session(lambda: "301")
    with hub.asked():
        assert not constants.HF_HUB_OFFLINE
    assert len(asked) == 1
    assert capsys.readouterr().err == ""


def test_offline_nobody_is_asked(session, monkeypatch) -> None:
    asked = session(_refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub.asked():
        pass
    assert constants.HF_HUB_OFFLINE
    assert not asked


def test_reasons_are_short_and_cut_between_words() -> None:
    assert hub.reason(LocalEntryNotFoundError("x" * 999)) == (
        "not in the cache, and the hub is not asked or does not answer"
    )
    said = hub.reason(ValueError("words " * 99))
    assert len(said) <= 160
    assert said.endswith("words ...")
