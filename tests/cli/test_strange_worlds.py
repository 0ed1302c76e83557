"""The command line among names, values, disks and homes that nobody thought of: one line, the right exit code, and no
result lost."""

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from brittle.api.tuning import finetune
from brittle.core.errors import UsageError
from brittle.results.reporting import REPORTS
from brittle.results.store import read_run

Run = Callable[..., tuple[int, str, str]]
SMALL = ("-e", "pixels(size=8)", "-d", "scenes(train=24, val=8, test=8, size=8)", "-t", "classification", "-a", "noise")


def _folder(root: Path, *classes: bytes) -> Path:
    """Two classes of four images in each split, under the names given."""
    for split in ("train", "val", "test"):
        for label in classes:
            for place in range(4):
                path = root / split / os.fsdecode(label) / os.fsdecode(b"%d\xe9.png" % place)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as stream:
                    Image.new("RGB", (8, 8), (60 * place, 9, 200 * (label == classes[0]))).save(stream, "PNG")
    return root


# --- names ------------------------------------------------------------------------------------------------------------


def test_no_name_reaches_the_terminal_or_a_report_raw(tmp_path: Path, brittle: Run) -> None:
    """Escape codes, brackets, a right-to-left mark and bytes that are no UTF-8."""
    data = _folder(tmp_path / "\x1b[31m[/b]\u202e", b"caf\xe9\x1b[2J", b"[red]b")
    out_dir = tmp_path / "run"
    code, out, err = brittle(
        "run", "-e", "pixels(size=8)", "-d", f"folder:{data}", "-a", "noise", "--output-dir", out_dir
    )
    assert code == 0, err
    texts = [out, err, *((out_dir / "report" / f"report.{kind}").read_text("utf8") for kind in REPORTS)]
    for kind in ("table", "md", "csv", "transfer", "paper"):
        code, out, err = brittle("report", out_dir, "--format", kind)
        assert code == 0
        texts += [out, err]
    code, out, _ = brittle("data", "check", f"folder:{data}")
    texts.append(out)
    for text in texts:
        assert not set(text) & {"\x1b", "\u202e", "\x9b"}
    assert read_run(out_dir)[0].images == 8
    code, _, err = brittle("run", "-e", "file:/nowhere/\x1b[31m.pth", "-d", "scenes")
    assert code == 4
    assert "/nowhere/\\x1b[31m" in err


def test_a_stdout_that_is_no_utf8_ends_no_run(tmp_path: Path, brittle: Run) -> None:
    assert brittle("run", *SMALL, "--output-dir", tmp_path)[0] == 0
    for encoding in ("ascii", "latin-1"):
        command = [sys.executable, "-m", "brittle", "report", str(tmp_path), "--format", "table,md"]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert b"accuracy" in done.stdout


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.threat("yaml")
@pytest.mark.parametrize(
    "text",
    [
        "seeds: [0b_]",
        "seeds: [2020-13-45]",
        "limit: 2020-13-45",
        "seeds: [!!int x]",
        "seeds: [!!float x]",
        "limit: !!timestamp x",
        "limit: !!binary '*'",
        "limit: !!python/object/apply:os.system [true]",
        f"seeds: [{'9' * 5000}]",
        f"limit: {'[' * 3000}{']' * 3000}",
        f"limit: {'{a: ' * 3000}1{'}' * 3000}",
        "seeds: [true]",
        "limit: true",
        "limit: 1:30",
        "limit: 0x10",
        "limit: 0o17",
        "limit: 1_000",
        "eps: [true]",
        "eps: [.inf]",
        "eps: [.nan]",
        "eps: [1e999]",
        "eps: [2001-01-01]",
        "seeds: [9223372036854775808]",
        "seeds: [1.5]",
        "seeds: 1",
        "? [a]\n: 1",
        "<<: {limit: 1}",
        "limit: *x",
        "limit: &x 1\nseeds: [*x]",
        "limit: ~\n...\n---\nlimit: 2",
        "%YAML 9.9\n---\nlimit: 1",
        "limit: \x07",
        "name: " + "a" * 300,
        "encoders: [!!set {a}]",
        'encoders: ["file:\\0"]',
        "datasets: [2001-01-01]",
    ],
)
def test_odd_values_of_a_plan_are_refused_in_one_line(tmp_path: Path, brittle: Run, text: str) -> None:
    keys = {"encoders": "encoders: [pixels]", "datasets": "datasets: [scenes]"}
    lines = [line for key, line in keys.items() if not text.startswith(key)]
    (tmp_path / "plan.yaml").write_text("\n".join([*lines, text]), encoding="utf8")
    code, out, err = brittle("run", tmp_path / "plan.yaml", "--dry-run")
    assert code in (2, 4), (out, err)
    assert len(err.strip().splitlines()) == 1
    assert len(err) < 1000


@pytest.mark.parametrize("word", ["no", "on", "1:30", "2001-01-01", "0x10", "010"])
def test_words_of_a_plan_are_words(tmp_path: Path, brittle: Run, word: str) -> None:
    (tmp_path / "plan.yaml").write_text(f"encoders: [{word}]\ndatasets: [scenes]\n", encoding="utf8")
    code, _, err = brittle("run", tmp_path / "plan.yaml")
    assert code == 2
    assert word.lstrip("0") in err


def test_a_plan_may_begin_with_a_byte_order_mark(tmp_path: Path, brittle: Run) -> None:
    text = f"encoders: ['{SMALL[1]}']\r\ndatasets: ['{SMALL[3]}']\r\ntasks: [classification]\r\n"
    (tmp_path / "plan.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert brittle("run", tmp_path / "plan.yaml", "--dry-run")[0] == 0


@pytest.mark.threat("eval")
@pytest.mark.parametrize(
    "option",
    [
        ("--batch-size", "²"),
        ("--batch-size", "0"),
        ("--batch-size", "٣"),
        ("--batch-size", "9" * 30),
        ("--batch-size", ""),
        ("--fail-under", "nan"),
        ("--fail-under", "inf"),
        ("--seed", "9" * 30),
        ("--seed", "-1"),
        ("--limit", "0"),
        ("--num-workers", "100000"),
        ("--num-workers", "-1"),
        ("--eps", ""),
        ("--eps", "nan"),
        ("--eps", "1/0"),
        ("--eps", "8//255"),
        ("--device", "cuda:99"),
        ("--device", "tpu"),
        ("--device", ""),
        ("--precision", "fp8"),
        ("--executor", "cloud"),
        ("--executor", ""),
        ("--protocol", "standard(subset=[])"),
        ("--protocol", ""),
        ("-t", ""),
        ("-a", ""),
        ("-e", ""),
        ("-d", ""),
        ("-e", ":"),
        ("-d", "folder:"),
    ],
)
def test_odd_values_of_an_option_are_refused_before_any_work(
    tmp_path: Path, brittle: Run, option: tuple[str, str]
) -> None:
    code, out, err = brittle("run", *SMALL, *option, "--output-dir", tmp_path / "run")
    assert code in (2, 4), (out, err)
    assert "measure" not in err
    assert not (tmp_path / "run" / "results").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("run", *SMALL, "--output-dir", ""),
        ("run", *SMALL, "--output-dir="),
        ("run", *SMALL, "--data-root", ""),
        ("run", ""),
        ("finetune", "deacl", "-e", "embedded:random", "-d", SMALL[3], "--output-dir", ""),
        ("report", ""),
        ("report", "run", "--output", ""),
        ("report", "run", "--output-dir", ""),
        ("compare", "run", ""),
        ("leaderboard", "run", "--output-dir", ""),
        ("show", "run", "--output-dir", ""),
    ],
)
def test_an_empty_path_is_not_the_working_folder(
    tmp_path: Path, brittle: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = brittle(*words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert f"an empty value: {words[-1] or words[-2]}" in err
    assert not list(tmp_path.iterdir())


def test_an_empty_path_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="an empty path; write the folder out"):
        finetune("deacl", "embedded:random", SMALL[3], output_dir="")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_an_executor_that_is_none_is_refused_before_any_work(
    tmp_path: Path, brittle: Run, more: tuple[str, ...]
) -> None:
    code, out, err = brittle("run", *SMALL, "--executor", "process", "--output-dir", tmp_path / "run", *more)
    assert (code, out, err) == (2, "", "brittle: no executor 'process'; there is local, manual, ray, slurm\n")
    assert not (tmp_path / "run").exists()


# --- disks and homes --------------------------------------------------------------------------------------------------


@pytest.mark.fault("F29")
@pytest.mark.parametrize(
    "name", ["results", "samples", "gallery", "failed", "locks", "report", "adversarial", "quarantine"]
)
def test_a_file_where_a_folder_of_the_run_belongs_is_refused_before_any_work(
    tmp_path: Path, brittle: Run, name: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("mine", encoding="utf8")
    code, _, err = brittle("run", *SMALL, "--output-dir", tmp_path / "run")
    assert code == 2
    assert f"{name} is a file" in err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [name]


@pytest.mark.fault("F29")
@pytest.mark.parametrize("name", ["x" * 300, "loop/run", "nothing", "file/run", "/proc/version/run"])
def test_a_folder_that_cannot_be_made_is_refused_before_any_work(tmp_path: Path, brittle: Run, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nothing").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("mine", encoding="utf8")
    code, _, err = brittle("run", *SMALL, "--output-dir", tmp_path / name)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    for command in (("report", tmp_path / name), ("compare", tmp_path / name)):
        code, _, err = brittle(*command)
        assert code in (2, 4)
        assert len(err.strip().splitlines()) == 1


def test_a_home_is_found_in_every_path(tmp_path: Path, brittle: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    _folder(tmp_path / "data", b"a", b"b")
    (tmp_path / "plan.yaml").write_text(
        "encoders: ['pixels(size=8)']\ndatasets: ['folder:{data}/data']\nattacks: [noise]\n", encoding="utf8"
    )
    code, _, err = brittle("run", "~/plan.yaml", "--data-root", "~", "--output-dir", "~/run")
    assert code == 0, err
    assert (tmp_path / "run" / "results").is_dir()
    assert not (tmp_path / "~").exists()
    assert brittle("report", "~/run", "--output-dir", "~/said")[0] == 0
    assert (tmp_path / "said" / "report.table").is_file()
    assert brittle("data", "check", "folder:~/data")[0] == 0
    assert "one encoder" in brittle("compare", "~/run")[2]


def test_no_home_at_all_is_said(tmp_path: Path, brittle: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_uid: int) -> None:
        raise KeyError("no such user")

    for name in ("HOME", "BRITTLE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    code, _, err = brittle("run", *SMALL, "--output-dir", tmp_path / "run")
    assert code == 2
    assert "set BRITTLE_CACHE" in err
    monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path / "cache"))
    assert brittle("run", *SMALL, "--output-dir", tmp_path / "run")[0] == 0


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
from brittle.__main__ import main
main()
"""


@pytest.mark.fault("F03")
def test_a_full_disk_fails_cells_names_the_file_and_loses_nothing(tmp_path: Path, brittle: Run) -> None:
    command = [sys.executable, "-c", FULL_DISK, "run", *SMALL, "--output-dir", str(tmp_path / "run")]
    env = {**os.environ, "BRITTLE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr
    assert "File too large" in done.stderr
    assert brittle("run", *SMALL, "--output-dir", tmp_path / "run")[0] == 0
    assert all(result.failed is None for result in read_run(tmp_path / "run"))


def test_a_relative_path_that_is_not_there_says_where_it_was_looked_for(
    tmp_path: Path, brittle: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = brittle("run", "-e", "pixels", "-d", "folder:my/data")
    assert code == 4
    assert f"looked for in {tmp_path}" in err


STOPPED = """
import builtins, sys
real = builtins.__import__
def stopped(name, *rest):
    if name == "typer":
        raise KeyboardInterrupt
    return real(name, *rest)
builtins.__import__ = stopped
from brittle.__main__ import main
main()
"""


def test_ctrl_c_while_it_is_imported_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "brittle: stopped\n"
