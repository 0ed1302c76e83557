"""benchmarks/strength.py: which attacks of a run are ensembles, and on how many images a single one beats them."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import typer

from benchmark import FOLDER, benchmark
from brittle.core import components
from brittle.core.tree import tree
from brittle.planning import plan as plans

PLANS = FOLDER / "strength"


@pytest.fixture
def strength() -> ModuleType:
    return benchmark("strength")


@pytest.mark.parametrize(
    ("beaten", "by", "weaker", "said"),
    [(2, 0.01, 0, "on 1.0% of images, by at most 0.0100"), (3, 0.01, 1, "on 1.5% of"), (9, 0.0009, 0, "on 0.0% of")],
)
def test_an_ensemble_is_beaten_where_it_is_on_more_than_one_image_in_a_hundred(
    strength: ModuleType, capsys: pytest.CaptureFixture[str], beaten: int, by: float, weaker: int, said: str
) -> None:
    damage = {"pgd(steps=9)": np.full(200, 0.5), "sea(steps=3)": np.full(200, 0.5), "autoattack": np.ones(200)}
    damage["pgd(steps=9)"][:beaten] += by
    assert strength.versus(damage) == weaker
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2, "a single attack against each ensemble"
    assert lines[0].startswith("  pgd(steps=9) beats sea(steps=3) ")
    assert said in lines[0]


@pytest.mark.usefixtures("quick")
def test_it_reads_a_run(
    strength: ModuleType,
    tmp_path: Path,
    tiny: str,
    brittle: Callable[..., tuple[int, str, str]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    attacks = ["depth_worst(steps=2)", "depthpgd(steps=2)", "noise"]
    named = [word for attack in attacks for word in ("-a", attack)]
    run = ["run", "-e", "pixels(size=8)", "-d", tiny, "-t", "depth", *named, "--limit", 8, "--checks", "none"]
    assert brittle(*run, "--output-dir", tmp_path)[0] == 0
    with pytest.raises(typer.Exit) as ended:
        strength.main([tmp_path])
    out = capfd.readouterr().out
    assert ended.value.exit_code == 0, out
    assert "linf 0.0314 / seed 0: 8 images" in out
    for rival in ("depthpgd", "noise"):
        assert f"  {rival}" in out
    assert out.count(" beats depth_worst") == 2


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plans_of_the_tables(path: Path) -> None:
    """One ensemble or two with so many steps, and single attacks of three times as many: of their own 20 where these
    are theirs."""
    plan = plans.read(str(path))
    attacks = [components.complete("attacks", text) for text in plan.attacks]
    steps = {
        int(str(attack.settings["steps"])) for attack in attacks if tree("attacks", str(attack)).attack_traits.picks
    }
    single = [attack for attack in attacks if not tree("attacks", str(attack)).attack_traits.picks]
    assert len(steps) == 1
    assert len(single) >= 4
    for attack in single:
        own = components.settings_of(components.component("attacks", attack.name).function)["steps"]
        assert attack.settings["steps"] in (3 * min(steps), 3 * own), str(attack)
    assert plan.eps == ["8/255"]
