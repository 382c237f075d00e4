"""What the demo shows, in order."""

from __future__ import annotations

from hashlib import sha256

from segsync.demo.folder import SHOP, SPEC
from segsync.demo.shop import ask_shop
from segsync.demo.stage import KILLED, Stage, Unexpected
from segsync.emulator import Cut

DAYS_LATER = 12
SPENDERS = (
    "SELECT customer_id FROM orders WHERE ordered_on >= '2026-01-01' "
    "GROUP BY customer_id HAVING sum(amount) >= 300"
)
READERS = "SELECT email FROM customers WHERE newsletter = 1"


def tell(stage: Stage) -> None:
    """The whole story. Raises Unexpected where a command does not do what is told here."""
    first_apply(stage)
    the_shop_changes(stage)
    members_are_renewed(stage)
    a_guard_refuses(stage)
    an_answer_is_lost(stage)
    an_apply_is_killed(stage)
    the_proof(stage)


def first_apply(stage: Stage) -> None:
    """Everybody is new."""
    stage.chapter(
        "Segments are queries in a file",
        "Each segment of the platform is one SQL query over the shop's database.",
    )
    stage.show(SPEC)
    stage.chapter(
        "Plan",
        "A plan runs the queries, compares them with what the platform last confirmed, and "
        "changes nothing.",
    )
    stage.segsync("plan")
    stage.chapter("Apply", "An apply sends that difference in one bulk import and waits for it.")
    stage.segsync("apply", "--yes", "--samples", "0")
    stage.chapter("Plan again", "Nothing has changed, so there is nothing to send.")
    stage.segsync("plan")


def the_shop_changes(stage: Stage) -> None:
    """Only the difference is sent."""
    stage.chapter(
        "The shop goes on",
        "Some buy a lot, big spenders buy once more, orders are returned, readers leave.",
    )
    stage.sql(
        "INSERT INTO orders (customer_id, ordered_on, amount) SELECT id, '2026-09-30', 450 "
        "FROM customers WHERE id % 250 = 0",
        "INSERT INTO orders (customer_id, ordered_on, amount) SELECT customer_id, '2026-10-01', 25 "
        "FROM orders WHERE amount > 350 AND ordered_on >= '2026-01-01'",
        "DELETE FROM orders WHERE customer_id % 97 = 0",
        "UPDATE customers SET newsletter = 0 WHERE id % 100 = 1",
    )
    stage.segsync("plan")
    stage.segsync("apply", "--yes", "--samples", "0")


def members_are_renewed(stage: Stage) -> None:
    """Who stays in the query must not lapse."""
    stage.chapter(
        f"{DAYS_LATER} days go by",
        "Members expire after 30 days, so those who stay are renewed in good time: each at its "
        "own moment between 75 % and 50 % of the time left, never all on one day. "
        "(The demo moves the platform's clock, and --now moves segsync's.)",
    )
    stage.let_days_pass(DAYS_LATER)
    stage.segsync("plan", "--now", stage.now)
    stage.segsync("apply", "--yes", "--samples", "0", "--now", stage.now)


def a_guard_refuses(stage: Stage) -> None:
    """An empty read must not look like everybody left."""
    stage.chapter(
        "A load fails half-way",
        "The table of orders is empty this morning. That must not look as if every big spender "
        "had left: the segment is blocked, and the message says how to let it through.",
    )
    stage.sql(
        "ALTER TABLE orders RENAME TO old_orders",
        "CREATE TABLE orders AS SELECT * FROM old_orders LIMIT 0",
    )
    stage.segsync("apply", "--yes", "--now", stage.now, expected=3)
    stage.explain("The load is repeated:")
    stage.sql("DROP TABLE orders", "ALTER TABLE old_orders RENAME TO orders")


def an_answer_is_lost(stage: Stage) -> None:
    """Look before sending twice."""
    stage.chapter(
        "An answer is lost",
        "The connection breaks after the platform has taken the payload. segsync looks into its "
        "own import, finds the execution, and waits for it instead of sending twice.",
    )
    stage.sql("UPDATE customers SET newsletter = 0 WHERE id % 100 = 2")
    stage.emulator.faults.add("upload", Cut("after_apply"))
    stage.segsync("apply", "--yes", "--samples", "0", "--now", stage.now)


def an_apply_is_killed(stage: Stage) -> None:
    """What was journalled is finished by the next apply."""
    stage.chapter(
        "An apply is killed",
        "kill -9, while the payload is on its way. The changes were journalled before the first "
        "byte was sent, so the next apply finds out what became of them.",
    )
    stage.sql("UPDATE customers SET newsletter = 0 WHERE id % 100 = 3")
    stage.kill_at_next_upload()
    stage.segsync("apply", "--yes", "--samples", "0", "--now", stage.now, expected=KILLED)
    stage.segsync("status", "--now", stage.now)
    stage.segsync("apply", "--yes", "--samples", "0", "--now", stage.now)


def the_proof(stage: Stage) -> None:
    """The platform's members are the queries' rows."""
    stage.chapter("The proof", "Who is in the segments now, asked at the platform itself:")
    shop, members = stage.folder / SHOP, stage.emulator.members
    hashes = {
        sha256(email.strip().lower().encode()).hexdigest() for email in ask_shop(shop, READERS)
    }
    expected = {"big_spenders": ask_shop(shop, SPENDERS), "newsletter_readers": hashes}
    for segment, wanted in expected.items():
        found = {identifier.value for identifier in members(segment)}
        if found != wanted:
            raise Unexpected(f"{segment}: {len(found ^ wanted)} members differ from the query")
        stage.say(f"  {segment:<20}{len(found):>6,} members = {len(wanted):,} rows of the query")
    stage.segsync("status", "--now", stage.now)
