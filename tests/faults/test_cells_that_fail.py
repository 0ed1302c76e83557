"""What goes wrong under way, through the command line: a cell fails alone or is taken up again, stored damage is made
good, numbers of another state are never shown, and there is a report whatever is left."""

import functools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from brittle.core import components
from brittle.core.records import Result
from brittle.results.store import read_run

Run = Callable[..., tuple[int, str, str]]
Replaced = Callable[..., None]
DATA = "scenes(train=64, val=32, test=32, size=8)"
WORDS = ("-e", "pixels(size=8)", "-d", DATA, "-t", "classification", "--limit", "8", "--device", "cpu")
ATTACKED = (*WORDS, "-a", "pgd(steps=2)", "-a", "noise")


def _numbers(folder: Path) -> dict[str, object]:
    return {str(result.cell): (result.metrics, result.metrics_uint8, result.intervals) for result in _whole(folder)}


def _whole(folder: Path) -> list[Result]:
    found = read_run(folder)
    assert all(result.failed is None for result in found)
    return found


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.fault("F05")
@pytest.mark.parametrize("how", ["flipped", "cut"])
@pytest.mark.parametrize("kind", ["results", "samples", "features", "heads"])
def test_damage_is_made_good_with_the_same_numbers(
    tmp_path: Path, fresh: Path, brittle: Run, kind: str, how: str
) -> None:
    assert brittle("run", *ATTACKED, "--output-dir", tmp_path / "run")[0] == 0
    wanted, draw = _numbers(tmp_path / "run"), random.Random(0)
    shared = kind in ("features", "heads")
    paths = [path for path in (fresh / kind if shared else tmp_path / "run" / kind).rglob("*.*") if path.is_file()]
    paths = [path for path in paths if path.suffix in (".json", ".npz", ".safetensors")]
    assert paths
    for path in paths:
        data = bytearray(path.read_bytes())
        data[draw.randrange(len(data))] ^= 1
        path.write_bytes(data if how == "flipped" else data[: draw.randrange(len(data))])
    if kind == "features":  # else nobody reads them
        for path in (fresh / "heads").rglob("*.safetensors"):
            path.unlink()
    again = tmp_path / ("other" if shared else "run")
    code, _, err = brittle("run", *ATTACKED, "--output-dir", again)
    assert code == 0, err
    assert _numbers(again) == wanted
    if not shared:
        assert err.count("damaged") == len(paths) == 3
        assert len(list((again / "quarantine").iterdir())) == 3


# --- memory and numbers -----------------------------------------------------------------------------------------------


MEMORY = {
    "F18": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    "F19": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
}


@pytest.mark.fault("F18", "F19")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", MEMORY)
@pytest.mark.parametrize("most", [3, 0])
def test_memory_that_runs_out_halves_the_batch_or_fails_the_cell_alone(
    tmp_path: Path, brittle: Run, replaced: Replaced, error: str, most: int
) -> None:
    assert brittle("run", *ATTACKED, "--output-dir", tmp_path / "roomy")[0] == 0
    real, sizes = components.component("attacks", "pgd").function, list[int]()

    @functools.wraps(real)
    def hungry(model: object, batch: object, *rest: object, **settings: object) -> object:
        sizes.append(len(batch.images))  # type: ignore[attr-defined]
        if sizes[-1] > most:
            raise MEMORY[error]()
        return real(model, batch, *rest, **settings)

    replaced("attacks", "pgd", hungry)
    code, _, err = brittle("run", *ATTACKED, "--output-dir", tmp_path / "tight")
    assert 8 in sizes
    if most:
        assert code == 0, err
        assert _numbers(tmp_path / "tight") == _numbers(tmp_path / "roomy")
        return
    assert code == 3
    failed = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1
    assert "out of memory" in failed[0]
    assert sum(result.failed is None for result in read_run(tmp_path / "tight")) == 2


SOURCE = """
import torch
from torch import nn


class Own(nn.Module):
    size, patch = 8, 8

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Conv2d(3, 4, 8, 8)

    def forward(self, images):
        {before}
        grid = self.line({images})
        return grid.mean((2, 3)){after}, grid


def own():
    return Own()
"""


def _own(folder: Path, before: str = "pass", images: str = "images", after: str = "") -> tuple[str, ...]:
    """The words of a run of an encoder in a file of one's own."""
    path = folder / "own.py"
    path.write_text(SOURCE.format(before=before, images=images, after=after), encoding="utf8")
    return ("-e", f"py:{path}:own", *WORDS[2:], "-a", "pgd(steps=2)", "-a", "noise")


@pytest.mark.fault("F16")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_model_that_gives_no_numbers_fails_its_cells(
    tmp_path: Path, brittle: Run, replaced: Replaced, value: str
) -> None:
    real = components.component("objectives", "task_loss").function

    def broken(*arguments: object, **settings: object) -> Callable[..., Tensor]:
        made = real(*arguments, **settings)
        return lambda *given: made(*given) * float(value)  # type: ignore[operator]

    replaced("objectives", "task_loss", broken)
    code, out, err = brittle("run", *ATTACKED, "--output-dir", tmp_path / "run")
    assert code == 3, err
    assert "failed" in out
    by_attack = {str(result.cell.attack).partition("(")[0]: result.failed for result in read_run(tmp_path / "run")}
    assert by_attack.pop("pgd", "").startswith("nonfinite")  # type: ignore[union-attr]
    assert set(by_attack.values()) == {None}


@pytest.mark.fault("F17")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("beside", [0, 2])
def test_an_encoder_without_a_gradient_is_never_called_robust(tmp_path: Path, brittle: Run, beside: int) -> None:
    """Nor because noise, which needs no gradient, does it no harm."""
    words = _own(tmp_path, images="(images - 0.5).sign()")
    words = words[: len(words) - 2 + beside]
    code, out, err = brittle("run", *words, "--output-dir", tmp_path / "run")
    assert code == 0, err
    attacked = next(result for result in read_run(tmp_path / "run") if "pgd" in str(result.cell.attack))
    assert ("gradient", "fail") in [(finding.name, finding.verdict) for finding in attacked.findings]
    assert "!" in out
    assert "keeps" not in err.splitlines()[-1], "a number of which a check failed is no answer"


@pytest.mark.fault("F26")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("noise", ["", " + 0.05 * torch.randn(len(images), 1)"])
def test_how_far_a_repeat_differs_stands_in_the_result(tmp_path: Path, brittle: Run, noise: str) -> None:
    """Nothing on a CPU, when made again in the same way."""
    words = _own(tmp_path, after=noise)
    code, out, err = brittle("run", *words, "--json", "--output-dir", tmp_path / "run")
    assert code == 0, err
    found = [finding for row in json.loads(out) for finding in row["findings"] if finding["name"] == "repeat"]
    assert len(found) == 2
    for finding in found:
        if noise:
            assert finding["verdict"] == "fail"
            assert finding["value"] > 0.02
        else:
            assert finding["verdict"] == "ok"
            assert "differ by 0.0e+00 of their spread when made again" in finding["why"]


# --- workers of Ray ---------------------------------------------------------------------------------------------------


DYING = """
        import os, signal, sys
        from pathlib import Path
        if "--tied" in sys.argv and images.requires_grad:
            deaths = Path({folder!r})
            deaths.mkdir(exist_ok=True)
            if len(list(deaths.iterdir())) < {most}:
                (deaths / str(os.getpid())).touch()
                {how}
"""


@pytest.mark.fault("F20")
@pytest.mark.parametrize(
    ("most", "how"), [(1, "os.kill(os.getppid(), signal.SIGKILL); signal.pause()"), (99, "os._exit(1)")]
)
def test_a_worker_of_ray_that_dies(tmp_path: Path, fresh: Path, most: int, how: str) -> None:
    """Once, and Ray's own process with it: another takes its cell up. At each try: the cell fails after two more, and
    the others are measured."""
    pytest.importorskip("ray")
    before = DYING.format(folder=str(tmp_path / "deaths"), most=most, how=how)
    words = ("run", *_own(tmp_path, before=before.strip()), "--executor", "ray", "--output-dir", tmp_path / "run")
    command = [sys.executable, "-m", "brittle", *words]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    found = read_run(tmp_path / "run")
    deaths = len(list((tmp_path / "deaths").iterdir()))
    assert done.stderr.count("warning: a worker died") == deaths
    if most == 1:
        assert (done.returncode, deaths, len(found)) == (0, 1, 3), done.stderr
        assert all(result.failed is None for result in found)
        return
    assert done.returncode == 3, done.stderr
    assert len(found) == 3
    assert deaths == 3
    (failed,) = (result for result in found if result.failed is not None)
    assert "3 workers in a row ended while they measured it" in str(failed.failed)


# --- resumed ----------------------------------------------------------------------------------------------------------


@pytest.mark.fault("F23")
@pytest.mark.usefixtures("quick")
def test_another_setting_is_another_cell_and_the_old_one_is_kept(tmp_path: Path, brittle: Run) -> None:
    run = ("run", *WORDS, "--output-dir", tmp_path / "run")
    assert brittle(*run, "-a", "pgd(steps=2)")[0] == 0
    old = {path: path.read_bytes() for path in (tmp_path / "run/results").iterdir()}
    code, _, err = brittle(*run, "-a", "pgd(steps=3)")
    assert code == 0
    assert "2 cells, 1 done before, 1 to do" in err
    assert all(path.read_bytes() == data for path, data in old.items())
    assert len(list((tmp_path / "run/results").iterdir())) == 3


@pytest.mark.fault("F24")
@pytest.mark.usefixtures("quick")
def test_cells_of_an_older_version_are_never_shown_beside_new_ones(
    tmp_path: Path, brittle: Run, replaced: Replaced
) -> None:
    run = ("run", *ATTACKED, "--output-dir", tmp_path / "run")
    assert brittle(*run)[0] == 0
    old = {result.id for result in read_run(tmp_path / "run")}
    replaced("attacks", "pgd", version=1000)
    code, _, err = brittle(*run)
    assert code == 0
    assert "3 cells, 2 done before, 1 to do" in err
    found = read_run(tmp_path / "run")
    assert len(found) == 3
    assert len({result.id for result in found} & old) == 2
    assert len(list((tmp_path / "run/results").iterdir())) == 4, "the old one is kept"
    code, out, err = brittle("report", tmp_path / "run", "--format", "json")
    assert len(json.loads(out)) == 3
    assert "1 results of other weights, data or versions are left out" in err


@pytest.mark.fault("F28")
@pytest.mark.usefixtures("quick")
def test_weights_that_are_not_those_of_their_card_are_refused(tmp_path: Path, brittle: Run) -> None:
    from brittle.api import load_encoder
    from brittle.core import files

    encoder, path = load_encoder("embedded:random"), tmp_path / "encoder.safetensors"
    from safetensors.torch import save_file

    save_file({key: value.contiguous() for key, value in encoder.state_dict().items()}, path)
    card = {"base": "embedded:random", "sha256": files.sha256_of_file(path)}
    path.with_suffix(".json").write_text(json.dumps(card), encoding="utf8")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    code, _, err = brittle("run", "-e", f"file:{path}", *WORDS[2:], "-a", "noise", "--output-dir", tmp_path / "run")
    assert code == 2
    assert str(path) in err.splitlines()[-1]
    assert "sha256 is not the card's" in err.splitlines()[-1]
    assert not list((tmp_path / "run").glob("results/*"))


# --- reports ----------------------------------------------------------------------------------------------------------


@pytest.mark.fault("F30")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("failing", [("pgd",), ("pgd", "noise")])
def test_there_is_a_report_over_what_is_left(
    tmp_path: Path, brittle: Run, replaced: Replaced, failing: tuple[str, ...]
) -> None:
    for name in failing:
        real = components.component("attacks", name).function
        replaced("attacks", name, functools.wraps(real)(lambda _model, batch, *_, **__: batch.images * torch.nan))
    code, _, _ = brittle("run", *ATTACKED, "--output-dir", tmp_path / "run")
    assert code == 3
    assert "failed" in (tmp_path / "run/report/report.html").read_text("utf8")
    for folder in ("results", "failed", "report"):
        for path in (tmp_path / "run" / folder).glob("*.json"):
            json.loads(path.read_text("utf8"), parse_constant=pytest.fail)
    for kind in ("table", "md", "csv", "json", "html", "paper", "transfer"):
        code, out, _ = brittle("report", tmp_path / "run", "--format", kind)
        assert code == 0
        assert "failed" in out


@pytest.mark.fault("F30")
def test_a_report_over_nothing_is_said(tmp_path: Path, brittle: Run) -> None:
    (tmp_path / "results").mkdir()
    code, _, err = brittle("report", tmp_path)
    assert code == 4
    assert len(err.splitlines()) == 1
    assert "no results in" in err
