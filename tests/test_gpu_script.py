"""benchmarks/gpu.py at toy size on the CPU, where nothing is installed that a machine with torch, timm and lightning
lacks, brittle itself neither."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[1]
ABSENT = ("typer", "rich", "click", "matplotlib", "transformers", "open_clip", "pyarrow", "h5py", "ray", "submitit")
BARE = f"""
    import importlib.metadata as metadata, runpy, sys
    sys.modules.update(dict.fromkeys({ABSENT!r}))
    known = metadata.version
    def version(name):
        if name == "brittle":
            raise metadata.PackageNotFoundError(name)
        return known(name)
    metadata.version = version
    sys.path[:0] = ["benchmarks", "src"]
    sys.argv = ["gpu.py", "--toy", "--device", "cpu", "--json", {{path!r}}]
    runpy.run_path("benchmarks/gpu.py", run_name="__main__")
"""


@pytest.mark.timeout(600)
def test_all_parts_at_toy_size(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    code = dedent(BARE).format(path=str(path))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text(encoding="utf8"))
    parts = {"same", "demo", "attacks", "windows", "heads"}
    assert found.keys() == {"facts", "size", *parts}
    assert not [found[part]["failed"] for part in parts if "failed" in found[part]]
    assert found["same"]["equal_draws"]
    assert len(found["same"]["headlines"]["cpu"]) == 9
    for attack in found["attacks"].values():
        assert attack["compiled"] == 1
        assert attack["rows"].keys() == {
            "bare loop",
            "ours",
            "bare loop, compiled",
            "ours, compiled",
            "naive loop in float32",
        }
        assert all(row["image_steps"] > 0 and row["share_of_peak"] > 0 for row in attack["rows"].values())
    assert found["heads"]["steps_per_second"] > 0
    assert len(found["windows"]["seconds"]["windows"]) == 1
