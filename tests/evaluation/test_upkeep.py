"""``brittle cache``: what is kept is counted, checked and made room for, and nothing else is ever touched."""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from filelock import FileLock

import brittle as package
from brittle.core import files, shared
from brittle.core.errors import UsageError
from brittle.datasets.scenes import scenes
from brittle.evaluation import cache, inspection, upkeep

Run = Callable[..., tuple[int, str, str]]
DAY, NOBODY = 86400, 65534
SIZE = 4000  # bytes of tensors in each file


def kept(kind: str, number: int, days: float = 0) -> Path:
    """A file of a kind that was last used some days ago."""
    name = files.sha256(f"{kind} {number}")
    layout = shared.KINDS[kind].layout
    if layout is shared.TENSORS:
        before = set(shared.folder(kind).glob("*/*.safetensors"))
        cache.get_or_make(kind, {"number": number}, lambda: {"values": torch.full((SIZE // 4,), float(number))})
        (path,) = set(shared.folder(kind).glob("*/*.safetensors")) - before
    else:
        place = name if layout is shared.NOTES else f"v1-8px-seed0/train-{number:05d}.safetensors"
        path = shared.folder(kind) / place
        files.write_sealed(path, b"x" * SIZE)
    aged(path, days)
    return path


def aged(path: Path, days: float) -> None:
    moment = time.time() - days * DAY
    os.utime(path, (moment, moment), follow_symlinks=False)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.fixture
def world(fresh: Path) -> dict[str, Path]:
    """One file of each kind, used from 1 day ago to 9."""
    return {kind: kept(kind, 0, days) for days, kind in enumerate(shared.KINDS, 1)}


def test_only_what_is_described_is_kept() -> None:
    """Whoever keeps something says in one table what it is."""
    source = Path(package.__file__).parent
    users = {path.name for path in source.rglob("*.py") if "cache() /" in path.read_text(encoding="utf8")}
    assert users == {"shared.py", "upkeep.py"}, "the latter looks at all of it"
    with pytest.raises(AssertionError):
        shared.folder("new")


def test_all_that_a_run_keeps_is_known(brittle: Run, fresh: Path, tmp_path: Path, tiny: str, encoder: str) -> None:
    assert brittle("data", "check", tiny, "-q")[0] == 0
    for more in (["--dry-run"], []):
        assert brittle("run", "-e", encoder, "-d", tiny, "-a", "embed,universal", "--limit", 8, "-q",
                       "--output-dir", tmp_path / "run", *more)[0] == 0  # fmt: skip
    found = upkeep.holdings()
    assert {file.kind for file in found.whole} == set(shared.KINDS)
    assert not found.passed
    assert not found.unfinished
    stored = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert {Path(file.path) for file in found.whole} == stored
    assert found.locks == len(list(fresh.rglob("*.lock"))) > 0
    assert not upkeep.verify(found).damaged


def test_ls(brittle: Run, world: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRITTLE_FEATURES_GB", "7")
    code, out, err = brittle("cache", "ls")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines() if line.split()[:1] and line.split()[0] in shared.KINDS}
    assert list(rows) == list(shared.KINDS)
    for days, (kind, each) in enumerate(shared.KINDS.items(), 1):
        words = f"{kind} 1 4 kB {days}d ago {each.what} {'yes' if each.again else 'no'}"
        assert rows[kind].split() == words.split()
    assert f"{len(world)} files, {sum(path.stat().st_size for path in world.values()) / 1e3:.0f} kB; " in out
    assert "of features at most 7.0 GB are kept (BRITTLE_FEATURES_GB); " in out
    assert out.rstrip().endswith("5 locks, none of them held")
    kinds = json.loads(brittle("cache", "ls", "--json")[1])
    assert {each["kind"]: each["files"] for each in kinds["kinds"]} == dict.fromkeys(shared.KINDS, 1)
    assert kinds["bytes"] == sum(path.stat().st_size for path in world.values())
    assert kinds["features_at_most"] == 7e9
    assert [each["kind"] for each in kinds["kinds"] if not each["again"]] == ["checked"]


@pytest.mark.parametrize("width", [80, 140])
def test_ls_keeps_to_the_width(
    brittle: Run, world: dict[str, Path], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = brittle("cache", "ls")[1].splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 2 + len(world) * (2 if width == 80 else 1) + 4


def test_what_is_damaged_is_said_and_on_request_removed(brittle: Run, world: dict[str, Path]) -> None:
    code, out, err = brittle("cache", "verify", "-q")
    assert (code, err) == (0, "")
    assert out.endswith("9 files read, all whole\n")
    for kind in ("heads", "scenes", "checked"):
        damage(world[kind])
    whole = world["features"].read_bytes()
    world["features"].write_bytes(whole[:100])
    world["targets"].write_bytes(b"")
    bad = ("heads", "scenes", "checked", "features", "targets")
    before = {path: path.stat().st_mtime_ns for path in world.values()}
    code, out, err = brittle("cache", "verify", "-q")
    assert code == 1
    assert "5 of 9 files are damaged; brittle cache verify --remove removes them" in err
    assert {line for line in out.splitlines() if line.startswith("damaged: ")} == {
        f"damaged: {world[kind]}" for kind in bad
    }
    assert {path: path.stat().st_mtime_ns for path in world.values()} == before, "looked at, not used"
    code, out, err = brittle("cache", "verify", "--remove", "-q")
    assert (code, err) == (0, "")
    assert {kind for kind, path in world.items() if not path.exists()} == set(bad)
    assert brittle("cache", "verify", "-q")[0] == 0
    assert kept("features", 0).read_bytes() == whole


def test_what_is_made_anew_while_it_is_checked_is_not_removed(
    world: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = world["heads"].read_bytes()
    for kind in ("heads", "targets"):
        damage(world[kind])
    found = upkeep.holdings()
    checked = upkeep.verify(found)
    assert [file.kind for file in checked.damaged] == ["heads", "targets"]
    read = cache._seal

    def made_anew(tensors: dict[str, torch.Tensor]) -> str:
        seal = read(tensors)
        files.write_whole(world["heads"], whole)
        world["targets"].unlink(missing_ok=True)
        return seal

    monkeypatch.setattr(cache, "_seal", made_anew)
    assert not upkeep.verify(found, remove=True).damaged
    assert not upkeep._remove(next(file for file in found.whole if file.kind == "heads"), checked.refused)
    assert not checked.refused
    assert world["heads"].read_bytes() == whole


@pytest.mark.parametrize(
    ("room", "older", "left"),
    [
        (None, "5d", 4),
        (None, "36h", 1),
        (2.5, None, 2),
        (99, None, 8),
        (0, None, 0),
        (6.5, "5d", 4),
        (3.5, "5d", 3),
    ],
)
def test_what_was_used_longest_ago_goes_first(
    brittle: Run, world: dict[str, Path], room: float | None, older: str | None, left: int
) -> None:
    """``room`` is for so many files."""
    again = [kind for kind, each in shared.KINDS.items() if each.again]  # in the order of their use
    size = max(path.stat().st_size for path in world.values())
    words = [] if room is None else ["--max-gb", f"{room * size / 1e9:.9f}"]
    words += [] if older is None else ["--older-than", older]
    code, said, _ = brittle("cache", "prune", *words, "--dry-run")
    assert code == 0
    assert all(path.exists() for path in world.values()), "only said"
    code, out, err = brittle("cache", "prune", *words)
    assert (code, err) == (0, "")
    assert said.replace("would go", "removed") == out
    assert [kind for kind in world if world[kind].exists()] == [*again[:left], "checked"], "is not made again"
    assert [line.split()[0] for line in out.splitlines() if line.split()[0] in shared.KINDS] == again[left:]


def test_what_is_read_is_used(fresh: Path, tiny: str) -> None:
    """Also where the disk notes no times of access."""
    look: dict[str, Callable[[], object]] = {
        "heads": lambda: cache.get_or_make("heads", {"number": 0}, lambda: {"values": torch.ones(1)}),
        "scenes": lambda: scenes("train", size=8)[0],
        "looked_at": lambda: inspection._fitted_on(tiny, "classification", "val"),
    }
    for kind, read in look.items():
        read()
        (path,) = (path for path in (fresh / kind).rglob("*") if path.is_file() and path.suffix != ".lock")
        before = path.read_bytes()
        aged(path, 9)
        read()
        assert time.time() - path.stat().st_mtime < DAY, kind
        assert path.read_bytes() == before
        shutil.rmtree(fresh / "scenes", ignore_errors=True)


def test_who_reads_a_file_that_is_removed_keeps_it(world: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    large = torch.arange(2**19, dtype=torch.float32)
    mapped = [cache.get_or_make("features", {"large": 1}, lambda: {"values": large})["values"] for _ in range(2)]
    pruned = upkeep.prune(upkeep.holdings(), 0, None)
    assert len(pruned.removed) == 9
    assert all(torch.equal(each, large) for each in mapped)
    read = cache._seal

    def removed_meanwhile(tensors: dict[str, torch.Tensor]) -> str:
        shutil.rmtree(shared.folder("heads"))
        return read(tensors)

    kept("heads", 1)
    monkeypatch.setattr(cache, "_seal", removed_meanwhile)
    values = cache.get_or_make("heads", {"number": 1}, dict)["values"]
    assert values.tolist() == [1.0] * (SIZE // 4)


def test_a_file_that_goes_before_it_is_opened_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _path: True)
    assert files.read_sealed(tmp_path / "gone") is None


def test_what_is_used_since_it_was_looked_at_stays(world: dict[str, Path]) -> None:
    found = upkeep.holdings()
    files.used(world["scenes"])
    pruned = upkeep.prune(found, None, 5.5 * DAY)
    assert [file.kind for file in pruned.removed] == ["rates", "looked_at"]
    assert world["scenes"].exists()


def test_what_another_removes_makes_no_more_room_than_asked_for(world: dict[str, Path]) -> None:
    found = upkeep.holdings()
    world["looked_at"].unlink()
    pruned = upkeep.prune(found, 5.5 * max(file.size for file in found.whole), None)
    assert {kind for kind, path in world.items() if not path.exists()} == {"scenes", "looked_at", "rates"}
    assert not pruned.refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "brittle cache prune removes nothing by itself; give --max-gb 20, --older-than 30d or both"),
        *((["--older-than", text], "--older-than is .*; give days or hours, such as 30d or 12h")
          for text in ("30", "d", "-1d", "1.5d", "30 d", "30D", "2w", "²d", "9999999d", "30d\n")),
        *((["--max-gb", text], "--max-gb is .*; give a number of gigabytes") for text in ("x", "-1", "nan", "inf")),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(brittle: Run, world: dict[str, Path], words: list[str], said: str) -> None:
    code, out, err = brittle("cache", "prune", *words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert re.match(f"brittle: {said}", err)
    assert all(path.exists() for path in world.values())


def test_left_overs_and_locks(brittle: Run, world: dict[str, Path]) -> None:
    name = "a" * 64
    old = [
        shared.folder("features") / "aa" / f".{name[:40]}.abcdefg_",
        shared.folder("checked") / f".{name[:40]}.00000000",
        shared.folder("scenes") / "v1-8px-seed0" / ".train-00000.safetensors.x9x9x9x9",
    ]
    young = shared.folder("features") / "aa" / f".{name[:40]}.young000"
    for path in (*old, young):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"part")
    for path in old:
        aged(path, 1.1)
    lock = FileLock(world["heads"].with_suffix(".lock"))
    with lock:
        lines = brittle("cache", "ls")[1].splitlines()
        assert lines[-2:] == [
            "4 files, 0 kB unfinished, 3 of them left over for more than a day",
            "5 locks, 1 of them held",
        ]
        assert json.loads(brittle("cache", "ls", "--json")[1])["locks"] == {"files": 5, "held": 1}
        out = brittle("cache", "prune", "--older-than", "90d")[1]
        assert "left over" in out
        assert brittle("cache", "prune", "--max-gb", "0")[0] == 0
        assert len(list(files.cache().rglob("*.lock"))) == 5
    assert [path.exists() for path in (*old, young)] == [False, False, False, True]


@pytest.fixture
def strange(world: dict[str, Path], tmp_path: Path) -> dict[Path, bytes]:
    """What strangers put into the cache and around it, with its content."""
    root = files.cache()
    outside = tmp_path / "outside"
    name = world["features"].name
    for path in (outside / "aa" / f"aa{'0' * 62}.safetensors", outside / "0" / name):
        path.parent.mkdir(parents=True)
        shutil.copy(world["features"], path)
        aged(path, 99)
    (root / "features" / "out").symlink_to(outside)
    (root / "features" / "ab").symlink_to(outside / "aa")
    (root / "heads" / "dead").symlink_to(root / "nothing")
    linked = world["heads"].with_name(f"{world['heads'].name[:2]}{'1' * 62}.safetensors")
    linked.symlink_to(outside / "0" / name)
    aged(linked, 99)
    for place in (
        ".hidden",
        "thesis.tex",
        "features/model.safetensors",
        "features/.hidden",
        "features/aa/b\nc\x1b[31m.safetensors",
        f"features/ac/{'a' * 64}.safetensors",  # in the folder of another hash
        "features/deep/er/model.safetensors",
        "heads/resnet/model.safetensors",
        "checked/notes.txt",
        "scenes/kitchen/train-00000.safetensors",
        "new/aa/thing.safetensors",
    ):
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"somebody's work")
        aged(path, 99)
    odd = root / "heads" / os.fsdecode(b"\xff\xfe")
    odd.write_bytes(b"somebody's work")
    os.mkfifo(root / "features" / "pipe")
    everything = [*outside.rglob("*"), *root.rglob("*")]
    ours = set(world.values())
    return {path: path.read_bytes() for path in everything if path.is_file() and path not in ours}


def test_nothing_of_strangers_is_touched(brittle: Run, world: dict[str, Path], strange: dict[Path, bytes]) -> None:
    links = [path for path in files.cache().rglob("*") if path.is_symlink()]
    code, out, err = brittle("cache", "ls")
    assert (code, err) == (0, "")
    assert "links, not followed: 4, such as features/ab" in out
    assert "not brittle's, left alone: 13, such as .hidden" in out
    assert out.splitlines()[0].split()[:2] == ["kind", "files"]
    assert f"{len(world)} files, " in out
    assert "\x1b" not in out
    passed = json.loads(brittle("cache", "ls", "--json")[1])["passed_over"]
    assert {why: len(paths) for why, paths in passed.items()} == {upkeep.LINK: 4, upkeep.FOREIGN: 13}
    assert brittle("cache", "verify", "--remove", "-q")[0] == 0
    assert brittle("cache", "prune", "--max-gb", "0", "--older-than", "0d")[0] == 0
    assert [kind for kind, path in world.items() if path.exists()] == ["checked"]
    assert {path: path.read_bytes() for path in strange} == strange
    assert all(path.is_symlink() for path in links)


def test_a_folder_that_becomes_a_link_is_not_entered(world: dict[str, Path], tmp_path: Path) -> None:
    """Between the look and the removal."""
    found = upkeep.holdings()
    moved = (files.cache() / "heads").rename(tmp_path / "moved")
    (files.cache() / "heads").symlink_to(moved)
    pruned = upkeep.prune(found, 0, None)
    assert [path.name for path in moved.rglob("*.safetensors")] == [world["heads"].name]
    assert [len(paths) for paths in pruned.refused.values()] == [1]


def test_a_kind_that_is_a_link_is_not_followed(brittle: Run, world: dict[str, Path], tmp_path: Path) -> None:
    moved = (files.cache() / "heads").rename(tmp_path / "moved")
    (files.cache() / "heads").symlink_to(moved)
    assert "links, not followed: 1, such as heads" in brittle("cache", "ls")[1]
    assert brittle("cache", "prune", "--max-gb", "0")[0] == 0
    assert list(moved.rglob("*.safetensors"))


def test_the_cache_itself_may_be_a_link(
    brittle: Run, world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "linked").symlink_to(files.cache())
    monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path / "linked"))
    assert brittle("cache", "prune", "--max-gb", "0")[0] == 0
    assert not world["features"].exists()


@pytest.mark.parametrize("words", [["ls"], ["verify"], ["verify", "--remove"], ["prune", "--max-gb", "1"]])
@pytest.mark.parametrize("what", ["none", "empty", "file", "dead link"])
def test_a_cache_that_is_none(brittle: Run, fresh: Path, words: list[str], what: str) -> None:
    if what == "empty":
        fresh.mkdir()
    if what == "file":
        fresh.write_bytes(b"mine")
    if what == "dead link":
        fresh.symlink_to(fresh.parent / "nothing")
    code, out, err = brittle("cache", *words)
    assert len((out + err).splitlines()) == 1
    if what in ("none", "empty"):
        assert (code, out) == (0, f"nothing is kept in {fresh}\n")
        assert fresh.exists() == (what == "empty")
        assert json.loads(brittle("cache", "ls", "--json")[1])["files"] == 0
    else:
        assert code == 2
        assert err.endswith("; set BRITTLE_CACHE\n")
    assert what != "file" or fresh.read_bytes() == b"mine"


@pytest.mark.parametrize("link", [False, True])
def test_what_is_in_the_way_of_a_folder_is_said(brittle: Run, world: dict[str, Path], link: bool) -> None:
    shutil.rmtree(files.cache() / "heads")
    if link:
        (files.cache() / "heads").symlink_to("nowhere")
    else:
        (files.cache() / "heads").write_bytes(b"mine")
    assert "in the way of a folder: 1, such as heads" in brittle("cache", "ls")[1]
    assert brittle("cache", "prune", "--max-gb", "0")[0] == 0
    code, _, err = brittle("doctor")
    assert code == 2
    assert err.splitlines()[-1] == f"brittle: {files.cache() / 'heads'} is in the way of a folder; remove it"


@contextmanager
def powerless() -> Iterator[None]:
    """As somebody whom permissions hold for."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def shared_by_many(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for a cache that everybody may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        place = Path(name)
        place.chmod(0o755)
        monkeypatch.setenv("BRITTLE_CACHE", str(place / "cache"))
        yield place / "cache"
        for path in place.rglob("*"):
            path.chmod(0o777)


def test_what_one_has_no_permission_for_is_said_once_and_left(brittle: Run, shared_by_many: Path) -> None:
    world = {kind: kept(kind, 0) for kind in shared.KINDS}
    more = kept("heads", 1)
    for path in shared_by_many.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    shared_by_many.chmod(0o755)
    for path in (world["heads"], more):
        path.parent.chmod(0o555)
    world["scenes"].chmod(0)
    for words in (["verify"], ["prune", "--max-gb", "0", "--dry-run"]):
        assert brittle("cache", *words)[0] == 0  # all is imported by then
    (shared_by_many / "targets").chmod(0)
    with powerless():
        code, out, err = brittle("cache", "verify", "--remove", "-q")
        assert code == 0
        assert err.count("warning: cannot be read (Permission denied): 1, such as scenes/") == 1
        assert "cannot be read (Permission denied): 1, such as targets\n" in out
        assert out.endswith("8 files read, all whole\n")
        code, out, err = brittle("cache", "prune", "--older-than", "0d")
        assert code == 0
        assert len(err.splitlines()) == 2
        assert "warning: cannot be read (Permission denied): 1, such as targets\n" in err
        assert "warning: cannot be removed (Permission denied): 2, such as heads/" in err
        code, out, err = brittle("cache", "prune", "--max-gb", "0")
        assert code == 1
        assert "are left, more than --max-gb 0" in err
    (shared_by_many / "targets").chmod(0o777)
    assert {kind for kind, path in world.items() if path.exists()} == {"heads", "targets", "checked"}
    shared_by_many.chmod(0)
    with powerless():
        code, out, err = brittle("cache", "ls")
        assert (code, out) == (2, "")
        assert err == f"brittle: cannot read {shared_by_many}: Permission denied; set BRITTLE_CACHE\n"
    shared_by_many.chmod(0o755)


def test_doctor_says_how_the_cache_is(brittle: Run, world: dict[str, Path]) -> None:
    damage(world["heads"])  # is not looked for
    code, out, err = brittle("doctor")
    assert code == 0
    assert json.loads(out)["cache"] == str(files.cache())
    (line,) = [line for line in err.splitlines() if line.startswith("cache: ")]
    assert line.startswith(f"cache: {len(world)} files, ")
    assert line.endswith("; 5 locks, none of them held")


def test_a_setting_that_is_none_is_refused(
    brittle: Run, world: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRITTLE_FEATURES_GB", "many")
    with pytest.raises(UsageError, match="BRITTLE_FEATURES_GB"):
        cache.most()
    assert brittle("cache", "ls")[0] == 2
