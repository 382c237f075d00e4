"""How many members are renewed on each day, with a run a day: `python -m tests.support.renewals`.

All members are added on one day and stay in the query. The engine decides, as in a real run; the
platform is nothing but the expiry that each command has established.
"""

from __future__ import annotations

import sys

from segsync.engine.fingerprint import fingerprint_of, policy_text
from segsync.model import DAY_MS, MINUTE_MS
from tests.support.comparing import NOW_MS, Bench, accounts, policy, segment

MINUTES = 30 * 24 * 60


def renewals(members: int, days: int) -> list[int]:
    """Commands on each day after the first. Asserts that nobody lapses before the next run."""
    names = [f"customer-{n}" for n in range(members)]
    monthly = segment(expiration_minutes=MINUTES)
    print_of_all = fingerprint_of(policy_text(MINUTES))
    expires = dict.fromkeys(names, NOW_MS + MINUTES * MINUTE_MS)
    curve = []
    with Bench() as bench:
        for day in range(1, days + 1):
            now_ms = NOW_MS + day * DAY_MS
            compared = bench.compare(
                accounts(*names),
                of=monthly,
                snapshot={name: (print_of_all, until) for name, until in expires.items()},
                under=policy(expiration_minutes=MINUTES, now_ms=now_ms),
            )
            sent = bench.engine.examples(compared.number, members, reattempts=False)
            assert {example.label for example in sent} <= {"renew"}
            for example in sent:
                expires[str(example.identifier)] = now_ms + MINUTES * MINUTE_MS
            assert min(expires.values()) > now_ms + DAY_MS
            bench.engine.release(compared.number)
            curve.append(len(sent))
    return curve


def main() -> None:
    """Print the curve."""
    members = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    curve = renewals(members, 200)
    for day, count in enumerate(curve, start=1):
        share = count / members
        print(f"day {day:3}  {share:6.1%}  {'#' * round(share * 300)}")
    print(f"busiest {max(curve) / members:.1%}, from day 60 {max(curve[59:]) / members:.1%}")


if __name__ == "__main__":
    main()
