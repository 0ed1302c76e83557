"""What somebody hostile would put into settings, plans, names and archives is refused in one line, and the canary file
that it would write is not there."""

import gzip
import io
import re
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torchvision.datasets.utils

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.evaluation.machine import Machine
from brittle.launch.parts.cell import Work
from brittle.launch.parts.crew import command
from brittle.results.store import Store

Run = Callable[..., tuple[int, str, str]]
SMALL = ("-e", "pixels(size=8)", "-d", "scenes(train=24, val=8, test=8, size=8)", "-t", "classification", "-a", "noise")


def _no_canary(folder: Path) -> None:
    assert not list(folder.rglob("canary"))
    assert not (folder.parent / "canary").exists()


CODE = "__import__('os').system('touch canary')"


@pytest.mark.threat("eval")
@pytest.mark.parametrize(
    "words",
    [
        ("--eps", CODE),
        ("--eps", "10**10**10"),
        ("--limit", CODE),
        ("-a", f"pgd(steps={CODE})"),
        ("-a", f"pgd(step={CODE})"),
        ("-a", CODE),
        ("-e", f"pixels(size={CODE})"),
        ("-e", "pixels(size=8).__class__"),
        ("-d", f"scenes(train={CODE})"),
        ("-t", f"classification(head={CODE})"),
        ("--protocol", f"standard(subset={CODE})"),
        ("--executor", f"slurm(minutes={CODE})"),
        ("--executor", "slurm(partition='; touch canary', minutes=0)"),
        ("--device", "cpu; touch canary"),
    ],
)
def test_a_setting_is_never_run(
    tmp_path: Path, brittle: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = brittle("run", *SMALL, *words, "--output-dir", tmp_path / "run")
    assert code == 2, (out, err)
    assert "Traceback" not in err
    _no_canary(tmp_path)


@pytest.mark.threat("yaml")
@pytest.mark.parametrize(
    "line",
    [
        "limit: !!python/object/apply:os.system ['touch canary']",
        "limit: !!python/object/new:os.system ['touch canary']",
        "limit: !!python/object/apply:subprocess.check_output [[touch, canary]]",
        "name: !!python/name:os.system",
        "limit: !!python/module:canary",
        "encoders: ['pixels']",  # a second time
        "seeds: &a [0]\neps: *a",
        "canary: 1",
    ],
)
def test_a_plan_is_never_run(tmp_path: Path, brittle: Run, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "canary.py").write_text("open('canary', 'w').close()\n", encoding="utf8")
    monkeypatch.syspath_prepend(tmp_path)
    plan = f"encoders: [pixels]\ndatasets: [scenes]\n{line}\n"
    (tmp_path / "plan.yaml").write_text(plan, encoding="utf8")
    code, _, err = brittle("run", tmp_path / "plan.yaml", "--output-dir", tmp_path / "run")
    assert code == 2
    assert len(err.splitlines()) == 1
    _no_canary(tmp_path)


@pytest.mark.threat("names")
@pytest.mark.parametrize(
    "name", ["../../canary", "/canary", "a/../../canary", "~/canary", "c:\\canary", "canary\0", "."]
)
def test_a_name_is_no_path(tmp_path: Path, brittle: Run, name: str) -> None:
    made = files.slug(name)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,53}", made)
    assert (tmp_path / made).resolve().parent == tmp_path.resolve()
    assert made != files.slug(f"{name} ")
    (tmp_path / "plan.yaml").write_text(f"encoders: [pixels]\ndatasets: [scenes]\nname: {name!r}\n", encoding="utf8")
    code, _, err = brittle("run", tmp_path / "plan.yaml", "--dry-run")
    assert code == 2
    assert len(err.splitlines()) == 1


@pytest.mark.threat("names")
@pytest.mark.parametrize("listed", ["cells", "plan", "current"])
def test_a_run_folder_names_no_file_outside_of_it(tmp_path: Path, brittle: Run, cell_of: Any, listed: str) -> None:
    """Sealed as it should be, as anybody can seal: what is read under such a name would be moved for its damage."""
    outside, folder = tmp_path / "outside.json", tmp_path / "run"
    outside.write_text("{}")
    name, cell = str(outside.with_suffix("")), asdict(cell_of())
    noted = {"cells": {}, "plan": [], "machine": {"keep": False}, "checks": "none", "costs": {}}
    noted |= {"cells": {name: cell}} if listed == "cells" else {"plan": [name]}
    files.write_record(folder / "work.json", noted)
    files.write_record(folder / "current.json", {"cells": {"a cell": name}})
    if listed == "current":
        assert Store(folder).others({}) == []
    else:
        for command in ("status", "work"):
            code, _, err = brittle(command, folder)
            assert (code, len(err.splitlines())) == (4, 1)
            assert "is no identity of a cell" in err
    assert outside.read_text() == "{}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.json", "run"]


@pytest.mark.threat("remote code")
def test_a_worker_runs_no_file_that_is_named_like_a_module(tmp_path: Path) -> None:
    (tmp_path / "signal.py").write_text("open('canary', 'w')\nraise SystemExit(9)\n")
    start = command(Work({}, Store(tmp_path / "run"), Machine(), "none"), "cpu")
    wanted = [*start[: start.index("work")], "version"]
    subprocess.run(wanted, cwd=tmp_path, check=True, timeout=60)
    _no_canary(tmp_path)


def _archive() -> bytes:
    """A packed archive that would write beside the folder it is unpacked into."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in ("../canary", "../../canary"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return stream.getvalue()


@pytest.mark.threat("archives")
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "food101", "voc2012", "stl10", "flowers102", "mnist"])
def test_an_archive_that_is_not_the_publishers_is_not_unpacked(
    tmp_path: Path, brittle: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Somebody on the way answers in the publisher's place: what came is another file, by its checksum."""
    asked: list[str] = []

    def served(url: str, filename: str, *_: Any, **__: Any) -> None:
        asked.append(url)
        Path(filename).write_bytes(_archive() if name != "mnist" else gzip.compress(b"canary"))

    monkeypatch.setattr(torchvision.datasets.utils, "_get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr(torchvision.datasets.utils, "_urlretrieve", served)
    code, _, err = brittle("data", "download", f"{name}:{tmp_path / 'data' / 'inner'}")
    assert asked
    assert code == 4, err
    assert "could not be fetched" in err
    _no_canary(tmp_path)


@pytest.mark.threat("ray")
def test_a_ray_of_our_own_listens_to_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = pytest.importorskip("ray")
    from brittle.evaluation.machine import Machine
    from brittle.launch.ray import ray
    from brittle.results.store import Store

    asked: dict[str, Any] = {}

    def init(address: str, **settings: Any) -> None:
        asked.update(settings, address=address)
        raise ConnectionError("that is all we want to know")

    monkeypatch.setattr(engine, "init", init)
    with pytest.raises(UsageError, match="no Ray at"):
        ray(Work({}, Store(tmp_path), Machine(), "fast"))
    assert (asked["address"], asked["include_dashboard"], asked["_node_ip_address"]) == ("local", False, "127.0.0.1")
