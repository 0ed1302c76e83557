"""The list of planted bugs fits the source as it is, and planting one from end to end is noticed."""

import ast

import pytest
import seeded


def test_there_are_enough_and_each_has_a_name() -> None:
    assert len({fault.name for fault in seeded.FAULTS}) == len(seeded.FAULTS) >= 30


@pytest.mark.parametrize("fault", seeded.FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_planted(fault: seeded.Fault) -> None:
    text = seeded.planted(fault)
    assert ast.dump(ast.parse(text)) != ast.dump(ast.parse((seeded.SOURCE / fault.file).read_text(encoding="utf8")))
    assert fault.tests
    assert all((seeded.ROOT / "tests" / test).is_file() for test in fault.tests)


def test_what_does_not_stand_there_once_is_refused() -> None:
    for old in ("no such text", "self"):
        with pytest.raises(ValueError, match="not once"):
            seeded.planted(seeded.FAULTS[0]._replace(old=old))


def test_a_fault_is_noticed_and_its_absence_too() -> None:
    fault = next(fault for fault in seeded.FAULTS if fault.name == "random-numbers-by-position")
    before = (seeded.SOURCE / fault.file).read_text(encoding="utf8")
    with seeded.copied() as folder:
        assert seeded.caught(folder, fault).startswith("tests/types/test_rng.py::")
        assert seeded.caught(folder, fault._replace(new=fault.old)) == "", (
            "nothing planted, nothing caught, and the copy is sound again"
        )
        assert seeded.caught(folder, fault._replace(new=fault.old + "\nraise SystemExit")) == "", (
            "what does not start is not caught"
        )
    assert (seeded.SOURCE / fault.file).read_text(encoding="utf8") == before
    assert not folder.exists()
