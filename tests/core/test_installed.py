"""What doctor says of versions, and how an error says what to install."""

import sys
from collections.abc import Callable, Mapping
from importlib import metadata

import pytest

from brittle.core import installed
from brittle.core.components import _module
from brittle.core.errors import UsageError

Command = Callable[..., tuple[int, str, str]]
TESTED = dict(line.split("==") for line in installed.TESTED.read_text(encoding="utf8").splitlines())


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str | None]], None]:
    """Make packages look as if they were installed in other versions, or (None) not at all; all others as tested."""

    def put(changed: Mapping[str, str | None]) -> None:
        known: dict[str, str | None] = {**TESTED, **changed}

        def version(name: str) -> str:
            found = known.get(name.replace("_", "-"), "1.0")
            if found is None:
                raise metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(metadata, "version", version)

    return put


@pytest.mark.parametrize(
    ("package", "version", "why"),
    [
        ("lightning", "2.6.2", "malicious"),
        ("lightning", "2.6.3", "malicious"),
        ("torch", "2.9.1", "CVE-2026-24747"),
        ("torch", "2.9.1+cu130", "CVE-2026-24747"),
        ("transformers", "5.4.0", "CVE-2026-5241"),
        ("transformers", "4.57.1", "CVE-2026-5241"),
        ("ray", "2.51.2", "CVE-2025-62593"),
    ],
)
def test_doctor_names_a_version_that_is_known_to_be_bad(
    brittle: Command, versions: Callable[..., None], package: str, version: str, why: str
) -> None:
    versions({package: version})
    (line,) = installed.bad()
    assert line.startswith(f"{package} {version} must not be used: ")
    assert why in line
    code, out, err = brittle("doctor")
    assert code == 1
    assert f'"{package}": "{version}"' in out
    assert err.splitlines()[-1] == f"brittle: {line}"
    assert "all well" not in err


@pytest.mark.parametrize(
    "sound",
    [
        {"lightning": "2.6.1"},
        {"lightning": "2.6.4"},
        {"torch": "2.10.0"},
        {"transformers": "5.5.0"},
        {"ray": "2.52.0"},
        {"transformers": None, "ray": None},
    ],
)
def test_it_does_not_name_others(versions: Callable[..., None], sound: Mapping[str, str | None]) -> None:
    versions(sound)
    assert installed.bad() == []


def test_doctor_says_what_was_not_tested_and_goes_on(brittle: Command, versions: Callable[..., None]) -> None:
    versions({"numpy": "2.3.0", "transformers": None, "torch": f"{TESTED['torch']}+cpu"})
    code, _, err = brittle("doctor")
    assert code == 0
    lines = [line for line in err.splitlines() if line.startswith("warning")]
    assert lines == [f"warning: numpy 2.3.0 is not the version that was tested, {TESTED['numpy']}"]
    assert err.splitlines()[-1] == "all well"


def test_an_error_says_how_to_install_what_is_missing() -> None:
    extras = {"transformers": "hf", "open_clip_torch": "clip", "matplotlib": "plot", "h5py": "data", "ray": "ray"}
    for package, extra in extras.items():
        how = f"in a checkout of brittle: pip install -c constraints.txt '.[{extra}]'"
        assert installed.needs(package) == f"needs the package {package!r}; {how}"
    for package in ("pytest", "a_module_of_mine"):  # which a stranger may have put on a package index
        assert installed.needs(package) == f"needs the package {package!r}, not installed here"


def test_a_launcher_without_its_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "brittle.launch.slurm", raising=False)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"^'slurm' needs the package 'submitit'; .* '\.\[slurm\]'$"):
        _module("launch", "slurm")
