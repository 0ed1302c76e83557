"""The command line: what it prints, what it ends with, one line for each mistake, and no work done twice."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from brittle import cli
from brittle.core import components
from brittle.launch.parts import cell as launching
from brittle.results.store import Store

Brittle = Callable[..., tuple[int, str, str]]
ENCODER, DATA = "pixels(size=8)", "scenes(train=64, val=32, test=32, size=8)"
SMALL = ("-e", ENCODER, "-d", DATA, "--limit", "8", "--device", "cpu")


def _one_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line.startswith("brittle: ")]
    assert len(lines) == 1, err
    assert len(err.splitlines()) == 1, err
    return lines[0]


def _images(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (40 * i % 256, 0, 90)).save(root / name)
    return root


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("-a", "pdg"), "no attack 'pdg'; did you mean 'pgd'?"),
        (("-e", "pixls"), "did you mean 'pixels'?"),
        (("-d", "scnes"), "did you mean 'scenes'?"),
        (("-t", "dept"), "did you mean 'depth'?"),
        (("-a", "pgd(restart=3)"), "did you mean 'restarts'?"),
        (("-a", "embed,pdg"), "did you mean 'pgd'?"),
        (("-a", "pgd(step=40)"), "did you mean steps=40?"),
        (("-e", "dino"), "did you mean 'embedded:dino'?"),
        (("-e", "vit_small_patch14_dinov2"), "did you mean 'timm:vit_small_patch14_dinov2'?"),
        (("-e", "resnet18.a1_in1k(size=64)"), "did you mean 'timm:resnet18.a1_in1k(size=64)'?"),
        (("-a", "pgd(steps=-1)"), "steps"),
        (("-a", "pgd(steps=2.5)"), "steps"),
        (("-a", "pgd(keep=first)"), "keep"),
        (("-a", "pgd(steps="), "breaks off"),
        (("-a", "pgd(objective=embeding)"), "embed"),
        (("-a", "pgd", "--norm", "l2"), "l2 has no budget of its own; give eps"),
        (("-a", "pgd", "--norm", "l1"), "l1 has no budget of its own; give eps"),
        (("-a", "pgd", "--eps", "nan"), "nan"),
        (("-a", "pgd", "--eps", "-1/255"), "-1/255"),
        (("-a", "pgd", "--eps", "1/0"), "1/0"),
        (("-a", "pgd", "--eps", "1e999"), "1e999"),
        (("-a", "pgd", "--eps", "__import__('os')"), "__import__"),
        (("-a", "pgd", "--eps", ""), "eps"),
        (("--device", "warp"), "no device 'warp'"),
        (("--precision", "fp8"), "no precision 'fp8'"),
        (("--batch-size", "0"), "--batch-size"),
        (("--batch-size", "many"), "--batch-size"),
        (("--executor", "locl"), "did you mean 'local'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    tmp_path: Path, brittle: Brittle, changes: tuple[str, ...], words: str
) -> None:
    code, out, err = brittle(
        "run", "--dry-run" if "--executor" not in changes else "-q", *SMALL, "--output-dir", tmp_path / "r", *changes
    )
    assert code == 2
    assert words in _one_line(err)
    assert out == ""
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("encoders: [pixels]\nencoders: [pixels]\ndatasets: [scenes]\n", "stands twice"),
        ("encoders: [pixels]\ndatasets: [scenes]\nattack: [pgd]\n", "did you mean 'attacks'?"),
        ("encoder: [pixels]\ndatasets: [scenes]\n", "did you mean 'encoders'?"),
        ("[1", "no YAML"),
        ("- a", "keys and values"),
    ],
)
def test_a_plan_file_with_a_mistake(tmp_path: Path, brittle: Brittle, text: str, words: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    code, _, err = brittle("run", tmp_path / "p.yaml", "--output-dir", tmp_path / "r")
    assert code == 2
    assert words in _one_line(err)
    assert not (tmp_path / "r").exists()


def test_what_is_missing_is_exit_4(tmp_path: Path, brittle: Brittle) -> None:
    for arguments in (
        ("run", "-e", ENCODER, "-d", f"folder:{tmp_path}/none"),
        ("run", "-e", ENCODER, "-d", f"fashion_mnist:{tmp_path}"),
        ("run", "-e", f"file:{tmp_path}/none.safetensors", "-d", DATA),
        ("run", tmp_path / "none.yaml"),
        ("report", tmp_path / "none"),
        ("report", tmp_path),
    ):
        extra = ("--output-dir", tmp_path / "r") if arguments[0] == "run" else ()
        code, _, err = brittle(*arguments, *extra)
        assert code == 4, arguments
        assert _one_line(err)


@pytest.mark.fault("F11")
def test_an_empty_folder_is_exit_2(tmp_path: Path, brittle: Brittle) -> None:
    (tmp_path / "data").mkdir()
    code, _, err = brittle(
        "run", "-q", "-e", ENCODER, "-d", f"folder:{tmp_path / 'data'}", "--output-dir", tmp_path / "r"
    )
    assert code == 2
    assert "no images" in _one_line(err)


@pytest.mark.fault("F29")
@pytest.mark.parametrize(
    "arguments", [("run", *SMALL), ("report",), ("finetune", "deacl", "-e", "embedded:random", "-d", DATA)]
)
def test_a_results_path_that_is_a_file_is_exit_2(
    tmp_path: Path, brittle: Brittle, result_of: Callable[..., Any], arguments: tuple[str, ...]
) -> None:
    (tmp_path / "taken").write_text("precious")
    if arguments == ("report",):
        Store(tmp_path / "run").put(result_of(), b"")
        arguments = ("report", str(tmp_path / "run"), "--format", "csv")
    code, _, err = brittle(*arguments, "--output-dir", tmp_path / "taken")
    assert code == 2
    assert "is a file" in _one_line(err)
    assert (tmp_path / "taken").read_text() == "precious"


@pytest.mark.fault("F06")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_text_file_as_a_image_fails_its_cells(tmp_path: Path, brittle: Brittle, split: str) -> None:
    root = _images(
        tmp_path / "data",
        *[f"{part}/{name}/{i}.png" for part in ("train", "val", "test") for name in "ab" for i in range(2)],
    )
    (root / split / "b" / "1.png").write_text("hello")
    code, out, err = brittle(
        "run", "-e", ENCODER, "-d", f"folder:{root}", "-a", "noise", "--output-dir", tmp_path / "r"
    )
    assert code == 3
    lines = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 2
    assert all(f"{split}/b/1.png" in line for line in lines)
    assert "failed" in out


@pytest.mark.parametrize("arguments", [("list", "atacks"), ("run", "dmo"), ("run", "-e", "pixels"),
                                       ("run", "-d", "scenes"), ("finetune", "decl", "-e", "pixels", "-d", "scenes"),
                                       ("finetune", "deacl", "-e", "pixels", "-d", "scenes", "--set", "stps=3"),
                                       ("finetune", "deacl", "-e", "pixels", "-d", "scenes",
                                        "--set", "steps")])  # fmt: skip
def test_other_mistakes(
    tmp_path: Path, brittle: Brittle, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = brittle(*arguments)
    assert code == 2
    assert _one_line(err)
    assert not list(tmp_path.iterdir())


def test_an_unknown_report_format_is_refused(tmp_path: Path, brittle: Brittle, result_of: Callable[..., Any]) -> None:
    Store(tmp_path).put(result_of(), b"")
    code, _, err = brittle("report", tmp_path, "--format", "cvs")
    assert code == 2
    assert "did you mean 'csv'?" in _one_line(err)


# --- what it says -----------------------------------------------------------------------------------------------------


def test_help_version_and_mistakes_in_a_process_of_its_own(tmp_path: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-X", "importtime", "-m", "brittle", *arguments]
        return subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    version = call("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("brittle ")
    assert " torch\n" not in version.stderr, "--version imports torch"
    wrong = call("run", "-e", "pixels", "-d", "scenes", "--precision", "x")
    assert wrong.returncode == 2
    assert [line for line in wrong.stderr.splitlines() if not line.startswith("import time:")] == [
        "brittle: no precision 'x'; there is auto, bf16, fp32"
    ]


def test_help(brittle: Brittle) -> None:
    code, out, _ = brittle("--help")
    assert code == 0
    for word in ("run", "report", "compare", "verify", "list", "finetune", "doctor", "cache"):
        assert word in out
    code, out, _ = brittle("run", "--help")
    assert code == 0
    for option in (
        "--eps",
        "--limit",
        "--output-dir",
        "--dry-run",
        "--json",
        "--fail-under",
        "--checks",
        "--executor",
        "--offline",
    ):
        assert option in out


def test_list(brittle: Brittle) -> None:
    code, out, _ = brittle("list")
    assert code == 0
    for kind in components.KINDS:
        assert f"{kind}:" in out
        assert all(name in out for name in components.names(kind))
    code, out, _ = brittle("list", "attacks")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(components.names("attacks"))
    assert brittle("list", "plans")[1].split() == ["demo", "models", "paper"]


def test_info(brittle: Brittle) -> None:
    code, out, err = brittle("info", "segpgd")
    assert (code, err) == (0, "")
    assert out.index("objective segpgd") < out.index("attack segpgd")
    assert "keep=score" in out
    assert 'brittle run -e embedded:dino -d scenes -a "segpgd(steps=20)"' in out
    assert brittle("list", "attacks", "pgd")[1] == brittle("info", "pgd(steps=40)")[1]
    assert "encoders:" in brittle("info", "demo")[1]
    out = " ".join(brittle("info", "fare")[1].split())
    assert "fast Ours, for many steps in a short time" in out
    assert "steps=2400, batch=32, lr=0.002," in out
    assert "Presets: fare4, fare2, fast." in brittle("list", "tuning")[1]
    assert "presets" not in brittle("info", "lore")[1]
    code, out, err = brittle("info", "pdg")
    assert (code, out) == (2, "")
    assert "did you mean 'pgd'?" in _one_line(err)
    assert "did you mean 'embed'?" in brittle("list", "attacks", "embd")[2]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_an_example_of_info_keeps_to_the_width_and_is_one_command(
    brittle: Brittle, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for kind in components.KINDS:
        for name in components.names(kind):
            out = brittle("list", kind, name)[1]
            assert not [line for line in out.splitlines() if len(line) > width and len(line.split()) > 2], "or one word"
            example = out.partition("\nexample\n")[2].splitlines()
            assert [line.endswith(" \\") for line in example] == [True] * (len(example) - 1) + [False]


def test_help_is_short_for_h_and_shows_examples_and_defaults(brittle: Brittle) -> None:
    for words in ((), ("data",), ("cache",)):
        assert "..." not in brittle(*words, "-h")[1].split("Commands:")[1], "no line on a command is cut"
    groups = (("data", "check"), ("cache", "prune"))
    for words in ((), ("run",), ("report",), ("compare",), ("finetune",), ("info",), *groups):
        code, out, _ = brittle(*words, "-h")
        assert (code, out) == (0, brittle(*words, "--help")[1])
        assert not words or "Examples:" in out
    assert "embed, downstream" in brittle("run", "-h")[1]
    assert brittle("version")[1] == brittle("--version")[1]


def test_doctor(brittle: Brittle) -> None:
    code, out, err = brittle("doctor")
    assert code == 0
    assert json.loads(out)["versions"]["torch"]
    assert "all well" in err


def test_lists_with_commas_are_options_given_several_times(tmp_path: Path, brittle: Brittle) -> None:
    def cells(*words: object) -> list[str]:
        arguments = ("run", "-e", ENCODER, "-d", DATA, "--limit", "8", "--dry-run", "--output-dir", tmp_path, *words)
        code, out, _ = brittle(*arguments)
        assert code == 0
        return out.splitlines()

    apart = cells("-t", "classification", "-t", "depth", "-a", "embed", "-a", "worst(attacks=[pgd, noise])",
                  "--eps", "4/255", "--eps", "8/255")  # fmt: skip
    together = cells("-t", "classification,depth", "-a", "embed,worst(attacks=[pgd, noise])", "--eps", "4/255, 8/255")
    assert len(apart) == 2 * (1 + 2 * 2)
    assert apart == together
    warm = [line for line in apart if line.endswith(" / worst(attacks=[pgd, noise]) 8/255 linf (warm)")]
    assert len(warm) == 2
    assert "warm(" not in "".join(apart)


def test_runs_that_nobody_named_lie_apart(tmp_path: Path, brittle: Brittle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ((), ("-a", "embed"), ("--limit", "4"), ("-e", "pixels(size=16)")):
        run = ("run", "-q", *SMALL, "-t", "representation", "-a", "noise", *words)
        assert brittle(*run)[0] == 0
    found = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "runs").iterdir())
    assert found == [
        "pixels+1-scenes",
        "pixels-scenes",
        "pixels-scenes",
    ]  # another attack is in the folder of the first


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_a_run_from_beginning_to_end(tmp_path: Path, brittle: Brittle) -> None:
    arguments = (
        "run",
        *SMALL,
        "-a",
        "embed(steps=2)",
        "-a",
        "downstream",
        "-t",
        "classification",
        "-t",
        "depth",
        "--output-dir",
        tmp_path / "r",
    )
    code, out, err = brittle(*arguments, "--dry-run")
    assert code == 0
    assert [line[:5] for line in out.splitlines()] == ["to do"] * 6
    assert not (tmp_path / "r").exists()

    code, table, err = brittle(*arguments)
    assert code == 0
    assert "6 cells, 0 done before, 6 to do" in err
    ends = [line for line in err.splitlines() if line.startswith("[")]
    assert [line[:5] for line in ends] == [f"[{i}/6]" for i in range(1, 7)]
    score = r": (accuracy|rmse) \d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]( [!?])?"
    assert all(re.search(f"{score}$", line) for line in ends), ends
    assert re.match(r"Under the strongest attack tried within linf 8/255, .*\.$", err.splitlines()[-1])
    assert "clean" in table
    assert "downstream" in table
    for name in (
        "plan.yaml",
        "env.json",
        "report/report.md",
        "report/report.csv",
        "report/report.json",
        "report/report.html",
    ):
        assert (tmp_path / "r" / name).stat().st_size
    assert (
        len(list((tmp_path / "r" / "results").glob("*.json")))
        == len(list((tmp_path / "r" / "samples").glob("*.npz")))
        == 6
    )

    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "r" / "results").iterdir()}
    code, again, err = brittle(*arguments)
    assert (code, again) == (0, table)
    assert "6 done before, 0 to do" in err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "r" / "results").iterdir()} == stamps
    assert [line[:5] for line in brittle(*arguments, "--dry-run")[1].splitlines()] == ["done "] * 6

    code, again, err = brittle("run", tmp_path / "r" / "plan.yaml", "--device", "cpu", "--output-dir", tmp_path / "r")
    assert (code, again) == (0, table)  # the plan that a run leaves behind is the run
    assert "0 to do" in err

    code, out, _ = brittle(*arguments, "--json", "-q")
    rows = json.loads(out, parse_constant=pytest.fail)
    assert code == 0
    assert len(rows) == 6
    assert brittle(*arguments, "--fail-under", "0.0")[0] == 0
    code, out, _ = brittle(*arguments, "--fail-under", "1.01")
    assert (code, out) == (5, table)

    code, out, _ = brittle("report", tmp_path / "r", "--format", "table")
    assert (code, out) == (0, table)
    code, _, _ = brittle("report", tmp_path / "r", "--format", "md,csv,json", "--output-dir", tmp_path / "out")
    assert code == 0
    for kind in ("md", "csv", "json"):
        assert (tmp_path / "out" / f"report.{kind}").read_text() == (
            tmp_path / "r" / "report" / f"report.{kind}"
        ).read_text()
    assert len(json.loads((tmp_path / "out" / "report.json").read_text())) == 6

    victim = next((tmp_path / "r" / "results").iterdir())
    victim.write_bytes(victim.read_bytes()[:-9])
    code, again, err = brittle(*arguments)
    assert (code, again) == (0, table)
    assert "1 to do" in err


@pytest.mark.usefixtures("quick")
def test_one_failure_among_many_is_exit_3(tmp_path: Path, brittle: Brittle, replaced: Callable[..., None]) -> None:
    arguments = ("run", *SMALL, "-a", "noise", "-t", "classification", "--output-dir", tmp_path / "r")
    real = components.component("attacks", "noise").function
    replaced("attacks", "noise", lambda model, batch, threat, rng, /: batch.images + 1, sees="head")
    code, out, err = brittle(*arguments)
    assert code == 3
    assert "failed" in out
    assert "budget" in err
    replaced("attacks", "noise", real, sees="nothing")
    code, out, _ = brittle(*arguments)  # fixed, the next run tries it again
    assert code == 0
    assert "failed" not in out


# --- stopped and continued --------------------------------------------------------------------------------------------

LONG = (*SMALL, "-t", "classification", "-a", "noise", "-a", "pgd(steps=2)", "-a", "embed(steps=2)")


def _stop_at(cell: int, flag: Path, how: Callable[[], object]) -> None:
    """From here on the run comes to a halt when it begins on its cell number ``cell``."""
    real, calls = launching.measure, []

    def halting(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == cell:
            flag.touch()
            how()
        return real(*arguments)

    launching.measure = halting  # type: ignore[assignment]


def _stored(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in (folder / "results").glob("*.json"):
        data = json.loads(path.read_text("utf8"))
        for key in ("cost", "sha256"):
            del data[key]
        found[path.stem] = data
    return found


@pytest.mark.fault("F01", "F27")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stopped_run_goes_on_where_it_was(
    tmp_path: Path, brittle: Brittle, fork: Callable[..., Any], number: int, code: int
) -> None:
    assert brittle("run", *LONG, "--output-dir", tmp_path / "straight")[0] == 0
    flag = tmp_path / "flag"

    def body() -> None:
        _stop_at(3, flag, lambda: time.sleep(60))
        sys.argv = ["brittle", "run", *LONG, "--output-dir", str(tmp_path / "r")]
        cli.main()

    process, log = fork(body)
    until = time.monotonic() + 60
    while not flag.exists():
        assert time.monotonic() < until
        assert process.is_alive(), log.read_text()
        time.sleep(0.02)
    began = time.monotonic()
    os.kill(process.pid, number)
    process.join(20)
    assert process.exitcode == code
    assert time.monotonic() - began < 5
    said = log.read_text()
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert [line for line in said.splitlines() if line.startswith("brittle: ") and "what is done is kept" in line]
    assert len(_stored(tmp_path / "r")) == 2

    ended, _, err = brittle("run", *LONG, "--output-dir", tmp_path / "r")
    assert ended == 0
    assert "4 cells, 2 done before, 2 to do" in err
    assert _stored(tmp_path / "r") == _stored(tmp_path / "straight")
    assert not (tmp_path / "r" / "quarantine").exists()
