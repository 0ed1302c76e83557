"""``python -m brittle``."""

from brittle.cli import main

main()
