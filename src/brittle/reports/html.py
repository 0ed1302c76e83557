"""A page in one file that opens from disk and loads nothing: the answer, the tables, the figures, and where each number
comes from."""

from collections.abc import Sequence

from brittle.core.records import Result
from brittle.core.traits import ReportTraits
from brittle.reports.parts import page
from brittle.reports.parts.distributions import Spreads, nothing
from brittle.reports.parts.shots import Pictures
from brittle.reports.parts.template import rendered

TRAITS = ReportTraits(ending=".html", beside=("pictures", "spreads"))
RATIO = (
    "The damage by the strongest attack on the encoder alone, as a share of that by the strongest attack on encoder "
    "and head, at the largest budget that has both."
)


def html(results: Sequence[Result], pictures: Pictures = lambda _id: (), spread: Spreads = nothing, /) -> str:
    """HTML, with as many ``pictures`` as there is room for, and what the ``spread`` behind numbers is drawn from. Names
    in it are text, never markup."""
    return rendered("page.html", **page.view(results, pictures, spread), ratio_about=RATIO)
