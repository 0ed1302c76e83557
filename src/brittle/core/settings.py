"""What numbers among a component's settings may be; apart, since pydantic takes as long to import as all else that a
report needs."""

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=0)]
"""A setting that counts something: a whole number, 0 or more."""
AtLeastOne = Annotated[int, Field(ge=1)]
"""A setting that counts something there must be one of."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A setting that is a finite number above 0."""
Step = Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)]
"""A setting that is the length of a step as a share of eps: two cross the whole ball."""
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A setting that is a finite number, 0 or more."""
