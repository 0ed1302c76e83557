"""``brittle`` and ``python -m brittle``: the command line, also where it is stopped while it is being imported."""

import sys


def main() -> None:
    """Run the command line; see ``brittle.cli``."""
    try:
        from brittle.cli import main as command
    except KeyboardInterrupt:
        print("brittle: stopped", file=sys.stderr)
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
