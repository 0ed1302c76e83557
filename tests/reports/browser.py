"""A headless Chromium that a test drives over two pipes (the DevTools protocol), so that no socket and no package is
needed."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--mute-audio", "--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe"),
)
PIPES = 'in=/proc/self/fd/$1 out=/proc/self/fd/$2; shift 2; exec "$@" 3<$in 4>$out'  # where Chromium reads and writes


class Browser:
    """One tab. ``log`` holds what the console, the page's errors and its policy said, ``requests`` every address that
    was asked for and not held back by the policy."""

    def __init__(self, into: int, out: int) -> None:
        self._into, self._out, self._count, self._rest = into, out, 0, b""
        self.log: list[str] = []
        self.requests: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    _session = ""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What Chromium answers to a command."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._into, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._count:
            self._note(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._out, 1 << 20)
            assert part, "Chromium ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        said = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent" if not said["request"]["url"].startswith("data:"):  # in the file itself
                self.requests[said["requestId"]] = said["request"]["url"]
            case "Network.loadingFailed" if said.get("blockedReason") == "csp":
                self.requests.pop(said["requestId"], None)
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                self.log.append(json.dumps(said)[:500])
            case _:
                pass

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def size(self, width: int, height: int = 900) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def dark(self, on: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file and wait until its script has run."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=f"{path.as_uri()}{fragment}")
        self.evaluate(
            "new Promise(done => { const look = () => document.readyState === 'complete' ? done(true) "
            ": setTimeout(look, 20); look() })"
        )
        self.settle()

    def press(self, key: str) -> None:
        """A key, such as ``Tab``, ``Enter`` or ``Escape``."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key],
                **(text if kind == "keyDown" else {}),
            )  # fmt: skip
        self.settle()

    def settle(self) -> None:
        """Wait until what was begun is drawn."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def picture(self, path: Path, whole: bool = True) -> None:
        """A PNG of the page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser() -> Generator[Browser]:
    """A browser that is ended afterwards."""
    (read, into), (out, write) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            ["sh", "-c", PIPES, "sh", str(read), str(write), CHROMIUM, *FLAGS, f"--user-data-dir={home}"],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": home},
        )
        os.close(read)
        os.close(write)
        try:
            yield Browser(into, out)
        finally:
            process.kill()
            process.wait()
            os.close(into)
            os.close(out)
