"""The wheel as a stranger has it: ``python release/smoke.py dist [OPTION...]`` installs it by the lock into an
empty environment and runs the embedded default there without a network."""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
COMMANDS = (["--version"], ["list"], ["doctor"])
CUT_OFF = ["unshare", "--map-root-user", "--net"]  # a network of its own, in which nothing is


def environment(home: Path) -> dict[str, str]:
    """Nothing of the caller's but the search path: a home and a cache that are empty, and Python's sockets blocked."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "BRITTLE_CACHE": str(home / "cache"),
        "PYTHONPATH": str(ROOT / "tests" / "offline"),
        "COLUMNS": "120",
        **{name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ},
    }


def cut_off() -> list[str]:
    """What a command is started with so that the system gives it no network; nothing where that is not allowed."""
    try:
        allowed = subprocess.run([*CUT_OFF, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    return CUT_OFF if allowed else []


def main(folder: Path, *options: str) -> None:
    """Install the one wheel of the folder and run it; ``brittle run`` with these options, without any in full."""
    (wheel,) = folder.glob("brittle-*.whl")
    with tempfile.TemporaryDirectory(prefix="brittle-smoke-") as made:
        home = Path(made)
        venv.create(home / "env", with_pip=True)
        pip = [str(home / "env/bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--require-hashes", "--only-binary=:all:", "-r", LOCK], check=True)
        subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel.resolve()], check=True)
        subprocess.run([*pip, "check"], check=True)
        prefix = cut_off()
        print(f"{wheel.name}, no network: {' '.join([*prefix, 'and'] if prefix else [])} Python's sockets", flush=True)
        for words in (*COMMANDS, ["run", *options]):
            print("$ brittle", *words, flush=True)
            command = [*prefix, str(home / "env/bin/brittle"), *words]
            subprocess.run(command, cwd=home, env=environment(home), check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
