"""The scripts of benchmarks/ as modules, which are in no package."""

import importlib.util
import sys
from pathlib import Path
from typing import Any


def benchmark(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(
        f"benchmarks_{name}", Path(__file__).parents[1] / f"benchmarks/{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
