"""What is installed beside brittle: which versions are bad, which were tested, and how to get what is missing."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.version import Version

TESTED = Path(__file__).parents[1] / "assets" / "tested.txt"
NOT_FOR_USERS = ("dev", "release")  # extras of whoever works on brittle itself


class Bad(NamedTuple):
    """Versions that must not be used, as a requirement such as ``torch<2.10``, and why."""

    versions: str
    why: str


STOLEN = "a malicious release that steals credentials (GHSA-w37p-236h-pfx3); change all that this machine holds"
BAD = (
    Bad("lightning==2.6.2", STOLEN),
    Bad("lightning==2.6.3", STOLEN),
    Bad("torch<2.10", "a file read with weights_only=True can run code (CVE-2026-24747)"),
    Bad("transformers<5.5", "a model's configuration can run code of its repository (CVE-2026-5241)"),
    Bad("ray<2.52", "a web page that is open beside it can run code (CVE-2025-62593)"),
)


def bad() -> list[str]:
    """A line for each package here whose version is known to be bad."""
    found: list[str] = []
    for versions, why in BAD:
        requirement = Requirement(versions)
        version = _version(requirement.name)
        if version is not None and requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement.name} {version} must not be used: {why}")
    return found


def untested() -> list[str]:
    """A line for each package here that was tested in another version."""
    pairs = (line.split("==") for line in TESTED.read_text(encoding="utf8").splitlines())
    here = ((name, _version(name), Version(tested)) for name, tested in pairs)
    return [
        f"{name} {version} is not the version that was tested, {tested}"
        for name, version, tested in here
        if version is not None and version.public != tested.public  # 2.14.1+cpu is 2.14.1
    ]


def needs(package: str) -> str:
    """``needs the package 'x'`` and how to install it, as the end of an error; by the extra of brittle that has it and
    from a checkout, so that no name is told that a stranger could claim on a package index."""
    extra = _extras().get(_canonical(package))
    how = (
        f"; in a checkout of brittle: pip install -c constraints.txt '.[{extra}]'" if extra else ", not installed here"
    )
    return f"needs the package {package!r}{how}"


def _version(name: str) -> Version | None:
    try:
        return Version(metadata.version(name))
    except metadata.PackageNotFoundError:
        return None


@cache
def _extras() -> dict[str, str]:
    """The extra that each optional package belongs to."""
    return dict(_optional())


def _optional() -> Iterator[tuple[str, str]]:
    for line in metadata.requires("brittle") or ():
        requirement = Requirement(line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", str(requirement.marker))
        if extra and extra[1] not in NOT_FOR_USERS:
            yield _canonical(requirement.name), extra[1]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
