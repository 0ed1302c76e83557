"""Results on disk: whole or not there, never read wrong, whatever breaks and however many write."""

import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from brittle.core import files, records
from brittle.core.errors import MissingError, UsageError
from brittle.core.pictures import Picture
from brittle.core.records import Result
from brittle.results.store import Store, pictures, read_run

Results = Callable[..., Result]
NAME = "a" * 20
SAMPLES = bytes(range(256)) * 2


def test_round_trip(tmp_path: Path, result_of: Results) -> None:
    store = Store(tmp_path / "run")
    made = result_of(attack="pgd(steps=3)")
    assert store.get(NAME) is None
    assert store.missing([NAME]) == [NAME]
    store.put(made, SAMPLES)
    assert store.get(NAME) == made
    assert store.missing([NAME, "b"]) == ["b"]
    assert (tmp_path / "run" / "samples" / f"{NAME}.npz").read_bytes() == SAMPLES
    assert read_run(tmp_path / "run") == [made]


def test_pictures_come_back_and_cost_nothing_but_themselves(
    tmp_path: Path, result_of: Results, capfd: pytest.CaptureFixture[str]
) -> None:
    """However a file of pictures is damaged, it is said, there are none, and the result stands as it was."""
    store, other = Store(tmp_path), "b" * 20
    drawn = [Picture("worst", "one", {"clean": "AAAA"}, 8, 15, (0.0, 1.0), "label", ("a", "a", "b"), (0.5, 0.9))]
    store.put(result_of(attack="pgd"), SAMPLES, drawn)
    assert store.pictures(NAME) == pictures([tmp_path / "none", tmp_path])(NAME) == drawn
    assert list(store.pictures(other)) == list(pictures([tmp_path])(other)) == []
    path = tmp_path / "gallery" / f"{NAME}.json"
    whole, sealed = path.read_bytes(), files.read_record(path)
    path.with_stem(other).write_bytes(whole)
    assert store.pictures(other) == []
    assert "it holds the pictures of" in capfd.readouterr().err
    draw = random.Random(0)
    place = draw.randrange(len(whole))
    broken = [b"", whole[: len(whole) // 2], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], b"[]"]
    for change in ({"drawings": {}}, {"role": "best"}, {"drawings": {"clean": '"><script>'}}, {"damage": 1}):
        files.write_record(path, {**sealed, "pictures": [{**sealed["pictures"][0], **change}]})
        broken.append(path.read_bytes())
    for data in broken:
        path.write_bytes(data)
        assert store.pictures(NAME) == []
        assert f"gallery/{NAME}.json: damaged" in capfd.readouterr().err
        assert store.missing([NAME]) == []
    path.unlink()
    assert store.pictures(NAME) == []
    assert store.missing([NAME]) == []
    assert capfd.readouterr().err == ""
    store.put(result_of(other), SAMPLES, [replace(drawn[0], damage=(float("nan"), 1.0))])
    assert "warning: no pictures of" in capfd.readouterr().err
    shutil.rmtree(tmp_path / "gallery")
    (tmp_path / "gallery").write_text("in the way")
    store.put(result_of("c" * 20), SAMPLES, drawn)
    assert "warning: no pictures of" in capfd.readouterr().err
    assert store.missing([other, "c" * 20]) == []


@pytest.mark.fault("F30")
def test_results_are_strict_json(tmp_path: Path, result_of: Results) -> None:
    store = Store(tmp_path)
    store.put(result_of(), b"")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads((tmp_path / "results" / f"{NAME}.json").read_text("utf8"), parse_constant=refuse)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            store.put(result_of("b" * 20, value), b"")
    assert store.get("b" * 20) is None
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == [f"{NAME}.json"]


def test_a_path_that_is_a_file_is_refused(tmp_path: Path, result_of: Results) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        Store(tmp_path / "taken")
    with pytest.raises(UsageError):
        Store(tmp_path / "taken" / "below").put(result_of(), b"")


def test_read_run_of_nothing(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(MissingError, match="no results"):
            read_run(folder)


# --- writes that fail -------------------------------------------------------------------------------------------------


@pytest.mark.fault("F03")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("what", ["fsync", "replace", "fdopen", "mkstemp"])
def test_a_write_that_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, count: int
) -> None:
    path = tmp_path / "x.json"
    files.write_whole(path, b"old")
    holder, name = {
        "fsync": (os, "fsync"),
        "replace": (Path, "replace"),
        "fdopen": (os, "fdopen"),
        "mkstemp": (files.tempfile, "mkstemp"),
    }[what]
    real, calls = getattr(holder, name), 0

    def failing(*arguments: object, **keywords: object) -> object:
        nonlocal calls
        calls += 1
        if calls == count:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **keywords)

    monkeypatch.setattr(holder, name, failing)
    raised = False
    for content in (b"new 1", b"new 2"):
        before = path.read_bytes()
        try:
            files.write_whole(path, content)
        except OSError as error:
            raised = error.errno == errno.ENOSPC
            assert path.read_bytes() in (before, content)  # the folder's own fsync comes after the rename
        else:
            assert path.read_bytes() == content
    assert raised
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"], "a temporary file was left"


@pytest.mark.fault("F03")
def test_a_full_disk_while_writing_leaves_the_old_content(tmp_path: Path, fork: Callable[..., tuple]) -> None:
    path = tmp_path / "x.bin"
    files.write_whole(path, b"old")

    def body() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            files.write_whole(path, b"n" * 5000)
        except OSError:
            os._exit(7)
        os._exit(0)

    process, _ = fork(body)
    process.join(30)
    assert process.exitcode == 7
    assert path.read_bytes() == b"old"
    assert not list(tmp_path.glob(".x.bin.*"))


# --- damage -----------------------------------------------------------------------------------------------------------


def _stored(folder: Path, made: Result) -> tuple[Store, Path, Path]:
    store = Store(folder)
    store.put(made, SAMPLES)
    return store, folder / "results" / f"{NAME}.json", folder / "samples" / f"{NAME}.npz"


@pytest.mark.fault("F05")
def test_flipped_bits_are_never_read_wrong(tmp_path: Path, result_of: Results) -> None:
    made = result_of(attack="pgd(steps=3)")
    store, result, samples = _stored(tmp_path, made)
    whole, draw, caught = result.read_bytes(), random.Random(0), 0
    for _ in range(500):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        result.write_bytes(data)
        found = store.get(NAME)
        assert found is None or found == made  # 1e-05 and 1E-05 are one number
        caught += found is None
        if found is None:
            assert not result.exists()
            assert (tmp_path / "quarantine" / result.name).read_bytes() == data
    assert caught > 480
    rest = samples.read_bytes()
    for _ in range(100):
        data = bytearray(rest)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        result.write_bytes(whole)
        samples.write_bytes(data)
        assert store.missing([NAME]) == [NAME]


@pytest.mark.fault("F05")
def test_truncations_count_as_missing(tmp_path: Path, result_of: Results, capsys: pytest.CaptureFixture[str]) -> None:
    store, result, samples = _stored(tmp_path, result_of())
    whole, rest = result.read_bytes(), samples.read_bytes()
    for i in range(64):
        result.write_bytes(whole[: len(whole) * i // 64])
        assert store.missing([NAME]) == [NAME]
        assert not result.exists()
    for i in range(64):
        result.write_bytes(whole)
        samples.write_bytes(rest[: len(rest) * i // 64])
        assert store.missing([NAME]) == [NAME]
    result.write_bytes(whole)
    samples.unlink()
    assert store.missing([NAME]) == [NAME]
    assert "damaged" in capsys.readouterr().err
    store.put(result_of(), SAMPLES)
    assert store.missing([NAME]) == []


@pytest.mark.parametrize("content", ["", "null", "5", '"x"', "[]", "{}", "true", "\x00", '{"sha256": 1}'])
def test_a_result_that_is_something_else_counts_as_missing(tmp_path: Path, result_of: Results, content: str) -> None:
    store, result, _ = _stored(tmp_path, result_of())
    result.write_text(content)
    assert store.missing([NAME]) == [NAME]


def test_a_result_file_under_another_name_is_not_taken_for_it(tmp_path: Path, result_of: Results) -> None:
    store, result, _ = _stored(tmp_path, result_of())
    result.rename(result.with_name(f"{'b' * 20}.json"))
    assert store.get("b" * 20) is None


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"\xff"])
@pytest.mark.parametrize("place", ["failed/bbbb.json", "current.json"])
def test_other_damaged_files_do_not_stop_a_report(
    tmp_path: Path, result_of: Results, place: str, content: bytes
) -> None:
    store, _, _ = _stored(tmp_path, result_of())
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(content)
    assert [found.id for found in store.results() if found.failed is None] == [NAME]


@pytest.mark.fault("F05")
@pytest.mark.parametrize("place", ["current.json", "failed/ffffffffffffffffffff.json"])
def test_a_flipped_bit_loses_no_finished_cell(
    tmp_path: Path, result_of: Results, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store, _, _ = _stored(tmp_path, result_of())
    store.put_failed(result_of("f" * 20, failed="nonfinite", seed=1))
    store.supersede({NAME: result_of().cell})
    whole, draw = (tmp_path / place).read_bytes(), random.Random(0)
    for _ in range(100):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (tmp_path / place).write_bytes(data)
        found = store.results()
        assert found[0] == result_of()
        assert all(each.failed in (None, "nonfinite") for each in found)
    assert f"{Path(place).name}: damaged" in capsys.readouterr().err


@pytest.mark.fault("F24")
def test_where_it_is_unknown_which_of_two_is_current_neither_is_shown(
    tmp_path: Path, result_of: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    old, new, other = result_of("1" * 20, 0.1), result_of("2" * 20, 0.2), result_of("3" * 20, 0.3, seed=5)
    for made in (old, new, other):
        store.put(made, b"")
    store.supersede({each.id: each.cell for each in (new, other)})
    (tmp_path / "current.json").write_bytes(b"\0" * 80)
    assert store.results() == [other]
    assert "2 results of other weights, data or versions are left out" in capsys.readouterr().err
    store.supersede({new.id: new.cell})  # as the next run does
    assert {each.id for each in store.results()} == {new.id, other.id}


@pytest.mark.fault("F04")
def test_processes_that_note_cells_at_once_lose_none(
    tmp_path: Path, result_of: Results, fork: Callable[..., tuple]
) -> None:
    made = [[result_of(f"{process}{i:019d}", seed=100 * process + i) for i in range(20)] for process in range(3)]
    gate = multiprocessing.get_context("fork").Barrier(3)

    def body(process: int) -> Callable[[], None]:
        def note() -> None:
            gate.wait(30)
            for each in made[process]:
                Store(tmp_path).supersede({each.id: each.cell})

        return note

    children = [fork(body(process))[0] for process in range(3)]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    noted = files.read_record(tmp_path / "current.json")["cells"]
    assert set(noted.values()) == {each.id for mine in made for each in mine}


def test_a_folder_that_can_only_be_read_is_still_reported(
    tmp_path: Path, result_of: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, _, _ = _stored(tmp_path, result_of())
    (tmp_path / "results" / f"{'b' * 20}.json").write_text("{")

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    assert store.results() == [result_of()]
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["results/._x.json", "results/.hidden.json", "failed/._x.json"])
def test_what_other_programs_leave_is_no_result(
    tmp_path: Path, result_of: Results, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store, _, _ = _stored(tmp_path, result_of())
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(b"\0\5\x16\7")
    assert store.results() == [result_of()]
    assert (tmp_path / place).exists()
    assert capsys.readouterr().err == ""


# --- order, failures, superseded --------------------------------------------------------------------------------------


def test_failed_cells_come_last_and_go_once_measured(tmp_path: Path, result_of: Results) -> None:
    store = Store(tmp_path)
    store.put_failed(result_of("f" * 20, failed="nonfinite", seed=1))
    store.put(result_of(NAME), b"")
    assert [(found.id, found.failed) for found in store.results()] == [(NAME, None), ("f" * 20, "nonfinite")]
    assert store.missing(["f" * 20]) == ["f" * 20]
    store.put(result_of("f" * 20, seed=1), b"")
    assert all(found.failed is None for found in store.results())


@pytest.mark.fault("F23", "F24")
def test_results_leaves_out_superseded_identities(tmp_path: Path, result_of: Results) -> None:
    store = Store(tmp_path)
    old, other = result_of("1" * 20, 0.1), result_of("3" * 20, 0.3, seed=5)
    new = result_of("2" * 20, 0.2)
    for made in (old, other):
        store.put(made, b"")
    store.supersede({new.id: new.cell})
    assert [found.id for found in store.results()] == [other.id]  # the old number is not shown for the new cell
    store.put(new, b"")
    assert {found.id for found in store.results()} == {new.id, other.id}
    assert (tmp_path / "results" / f"{old.id}.json").exists()  # kept, though


def test_results_follow_the_plans_order(tmp_path: Path, result_of: Results) -> None:
    store = Store(tmp_path)
    made = [result_of(str(9 - i) * 20, seed=i) for i in range(4)]
    for one in made:
        store.put(one, b"")
    store.supersede({one.id: one.cell for one in made})
    assert store.results() == made


def test_a_result_of_another_schema_is_refused(result_of: Results) -> None:
    data = {**result_of().to_dict(), "schema_version": records.SCHEMA_VERSION + 1}
    with pytest.raises(UsageError, match="schema"):
        Result.from_dict(data)


# --- many processes ---------------------------------------------------------------------------------------------------


@pytest.mark.fault("F04")
def test_four_processes_measure_each_cell_once(tmp_path: Path, result_of: Results, fork: Callable[..., tuple]) -> None:
    made = {f"{i:020d}": result_of(f"{i:020d}", i / 300, seed=i) for i in range(300)}
    log, gate = tmp_path / "log", multiprocessing.get_context("fork").Barrier(4)

    def body() -> None:
        store = Store(tmp_path / "run")
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        gate.wait(30)
        for name, result in made.items():
            with store.claim(name):
                if store.get(name):
                    continue
                os.write(handle, f"{name}\n".encode())
                time.sleep(0.001)
                store.put(result, b"samples")

    children = [fork(body)[0] for _ in range(4)]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert sorted(log.read_text().split()) == sorted(made)
    assert {found.id: found for found in Store(tmp_path / "run").results()} == made


@pytest.mark.fault("F04")
def test_a_claim_does_not_outlive_a_killed_process(tmp_path: Path, fork: Callable[..., tuple]) -> None:
    def body() -> None:
        with Store(tmp_path).claim("x"):
            os.kill(os.getpid(), signal.SIGKILL)

    process, _ = fork(body)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    began = time.monotonic()
    with Store(tmp_path).claim("x"):
        assert time.monotonic() - began < 2
