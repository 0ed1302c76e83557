"""A tab of a headless Chromium, for the tests of pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture
def tab(chromium: Browser, page: Path) -> Iterator[Browser]:
    """The ``page`` of a module as it is opened; afterwards nothing may have gone wrong in it, and nothing else been
    asked for."""
    chromium.log.clear()
    chromium.requests.clear()
    chromium.size(1440)
    chromium.dark(False)
    chromium.open(page)
    yield chromium
    assert chromium.log == []
    assert {address.partition("#")[0] for address in chromium.requests.values()} <= {page.as_uri()}
