"""docs/design.md is true: its floors are the contract's, and every module it names is there."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "design.md").read_text(encoding="utf8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["importlinter"]["contracts"]
SOURCE = ROOT / "src" / "brittle"


def _floors() -> list[str]:
    table = TEXT.split("| floor |")[1].split("\n\n")[0].splitlines()[2:]
    return [re.match(r"\| `(.+?)` \|", line)[1].replace("\\", "") for line in table]  # type: ignore[index]


def test_the_floors_are_those_of_the_contract() -> None:
    (layers,) = [contract for contract in CONTRACTS if contract["type"] == "layers"]
    assert _floors() == layers["layers"]
    assert layers["exhaustive"]
    assert len(layers["layers"]) <= 16


def test_every_folder_is_on_a_floor_and_none_lies_deeper_than_parts() -> None:
    on_floors = {name for floor in _floors() for name in floor.split(" | ")}
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders <= on_floors
    assert {path.name for path in SOURCE.glob("*.py")} == {"__init__.py", "__main__.py", "verify.py"}
    deeper = {path.parent.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")}
    assert all(place.count("/") == 0 or (place.count("/") == 1 and place.endswith("/parts")) for place in deeper)


def test_every_module_named_is_there() -> None:
    dotted = set(re.findall(r"`((?:[a-z_]+\.)+[A-Za-z_]+)(?:\(.*?\))?`", TEXT)) - {"model.using", "pyproject.toml"}
    for name in dotted:
        *place, last = name.split(".")
        module = SOURCE.joinpath(*place).with_suffix(".py")
        if last == "py":
            continue
        if place[-1][0].isupper():
            *place, holder = place
            module, last = SOURCE.joinpath(*place).with_suffix(".py"), holder
        assert module.is_file(), name
        assert re.search(rf"^(def|class) {last}\b", module.read_text(encoding="utf8"), re.MULTILINE), name
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT.split("## The life")[0], re.MULTILINE))
    for folder in ("results", "evaluation", "api", "launch"):
        for module in re.findall(r"`([a-z_/]+)`", rows[folder]):
            place = SOURCE / folder / module
            defined = any(
                re.search(rf"^def {module}\b", each.read_text(encoding="utf8"), re.M)
                for each in place.parent.rglob("*.py")
            )
            assert place.with_suffix(".py").is_file() or place.is_dir() or defined, module
