"""Ask the advisory service about each package of a lock: ``python release/audit.py [--strict] LOCK``. Exit 1 where one
is known to be vulnerable; with ``--strict`` also where some could not be asked about, which else is only said."""

import json
import subprocess
import sys
from typing import Any

COMMAND = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner=off", "-f=json"]


def ask(lock: str) -> list[dict[str, Any]]:
    """What is known of each package; nothing at all where the service is not reached."""
    done = subprocess.run([*COMMAND, "-r", lock], capture_output=True, text=True, check=False)
    if done.stdout.startswith("{"):
        return json.loads(done.stdout)["dependencies"]
    print((done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1], file=sys.stderr)
    return []


def judge(packages: list[dict[str, Any]], strict: bool) -> int:
    """Say it; the exit code."""
    answered = [each for each in packages if "vulns" in each]
    asked_in_vain = [each["name"] for each in packages if "vulns" not in each]
    known = [(each, vuln) for each in answered for vuln in each["vulns"]]
    for each, vuln in known:
        print(f"{each['name']} {each['version']}: {vuln['id']}, mended in {', '.join(vuln['fix_versions']) or 'none'}")
    if not answered:
        print("NOT AUDITED: the advisory service was not reached, or knows none of the packages")
    else:
        print(f"{len(answered)} packages audited, {len(known)} known vulnerabilities")
        if asked_in_vain:
            print(f"NOT AUDITED: {', '.join(asked_in_vain)}")
    return int(bool(known) or (strict and (not answered or bool(asked_in_vain))))


if __name__ == "__main__":
    sys.exit(judge(ask(sys.argv[-1]), "--strict" in sys.argv[1:-1]))
