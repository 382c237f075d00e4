"""What the command line tells somebody who does not know yet what to do next."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from segsync.emulator import Upload
from tests.support.canary import TOKEN
from tests.support.cli import FANS, PATIENCE, Done, Shop, environment, shop


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Shop]:
    """A shop with ten people, all of them fans."""
    with shop(tmp_path) as made:
        yield made


LOOKING = (
    ("status",),
    ("state", "show"),
    ("state", "members", "fans"),
    ("state", "rejects"),
    ("state", "backup", "copy.db"),
)


@pytest.mark.parametrize("words", LOOKING, ids=lambda words: words[-1])
def test_who_looks_at_the_state_needs_neither_token_nor_source(
    store: Shop, words: tuple[str, ...]
) -> None:
    store.run("apply", "--yes").check(0)
    path = store.folder / "segments.yaml"
    path.write_text(
        path.read_text()
        .replace('"sqlite:///shop.db"', '"${SHOP_URL}"')
        .replace("  api_token", "  proxy: ${PROXY}\n  api_token")
        .replace("FROM people}", "FROM people WHERE score >= :low, params: {low: '${LOW}'}}")
    )
    # A runner of CI gives an empty value for a secret that it may not see.
    store.run(*words, MICS_API_TOKEN="", SHOP_URL="", PROXY="", LOW="").check(0)
    if words[-1] == "copy.db":
        (store.folder / "copy.db").unlink()
    store.run(*words, MICS_API_TOKEN=None).check(0)
    done = store.run("plan", MICS_API_TOKEN=None).check(1)
    for name in ("MICS_API_TOKEN", "SHOP_URL", "PROXY", "LOW"):
        assert f"the environment variable {name} is not set" in done.err
    wrong = store.run("status", MICS_API_TOKEN=f"{TOKEN} {TOKEN}").check(1)
    assert "of the API token is a space" in wrong.err


def test_the_remedy_for_a_url_without_a_file_is_not_masked_with_the_url(store: Shop) -> None:
    path = store.folder / "segments.yaml"
    path.write_text(path.read_text().replace('"sqlite:///shop.db"', '"${SHOP_URL}"'))
    told = " ".join(store.run("plan", SHOP_URL="sqlite:///").check(1).out.split())
    assert "its URL names none → Write the file's path behind the three slashes" in told


def test_a_variable_is_not_told_to_be_another_that_begins_alike(store: Shop) -> None:
    done = store.run("plan", MICS_API_TOKEN=None, MICS_API_URL="http://127.0.0.1:1").check(1)
    assert "MICS_API_TOKEN is not set" in done.err
    assert "hint: set it in the environment" in done.err
    done = store.run("plan", MICS_API_TOKEN=None, MICS_API_TOKN="x").check(1)
    assert "did you mean `MICS_API_TOKN`?" in done.err


def test_a_query_is_not_judged_while_nobody_knows_its_database(store: Shop) -> None:
    """MySQL reads it, standard SQL does not."""
    store.spec(r"  fans: {query: SELECT name AS user_account_id FROM people WHERE name <> 'a\'b'}")
    path = store.folder / "segments.yaml"
    path.write_text(path.read_text().replace('"sqlite:///shop.db"', '"${SHOP_URL}"'))
    store.run("status").check(0)
    store.run("validate", SHOP_URL="mysql://localhost/shop").check(0)


def test_an_apply_that_is_at_work_is_not_told_as_one_that_died(store: Shop) -> None:
    told: dict[str, Done] = {}

    def look(_upload: Upload) -> None:
        told["status"] = store.process("status")
        told["json"] = store.process("status", "--format", "json")
        told["plan"] = store.process("plan")

    store.run("apply", "--yes").check(0)
    store.people(12)
    store.emulator.on_upload(look)
    store.run("apply", "--yes").check(0)
    for text in (told["status"].out, told["json"].err, told["plan"].out):
        assert "An apply is at work now, of " in " ".join(text.split())
        assert "not finished" not in text
    assert "Last run: 1 at " in told["status"].out
    assert json.loads(told["json"].out)["open_run"]["serial"] == 2
    assert "at work" not in store.run("status").out


def test_an_apply_that_died_is_not_told_as_one_that_is_at_work(store: Shop) -> None:
    store.leave_a_run_open()
    assert (store.state.parent / "state.db.holder").exists()
    for word in ("status", "plan"):
        text = store.run(word).check(0).out
        assert "is not finished" in text
        assert "at work" not in text


@pytest.mark.parametrize("format", ["text", "json", "markdown", "html"])
def test_a_plan_without_a_state_says_why_everybody_is_new(store: Shop, format: str) -> None:
    done = store.run("plan", "--format", format).check(0)
    told = " ".join(f"{done.out if format != 'json' else ''} {done.err}".split())
    assert "No apply is recorded in the state .segsync/state.db yet" in told
    assert "every member counts as new" in told
    store.run("apply", "--yes").check(0)
    done = store.run("plan", "--format", format).check(0)
    assert "counts as new" not in done.out + done.err


def test_who_is_asked_before_a_first_apply_is_told_that_there_is_no_state(store: Shop) -> None:
    done = store.run("apply", "--yes", "--format", "json").check(0)
    assert "restore it from its backup" in " ".join(done.err.split())


@pytest.mark.parametrize("words", [("--now", "2027-02-01"), ()], ids=["earlier", "none"])
def test_a_rehearsal_does_not_go_back_in_time(store: Shop, words: tuple[str, ...]) -> None:
    store.move_clock("2090-01-01")
    store.run("apply", "--yes", "--now", "2090-01-01").check(0)
    store.people(12)
    done = store.run("apply", "--yes", *words).check(1)
    assert "before the last one, which was at 2090-01-01T00:0" in " ".join(done.err.split())
    assert f"{store.url}/_emulator/clock" in done.err
    store.run("apply", "--yes", "--now", "2090-01-01T00:00:00").check(0)


@pytest.mark.parametrize("command", ["plan", "status", "apply"])
@pytest.mark.parametrize("time", ["9999-12-31", "0001-01-01", "1969-12-31T23:59:59", "3000-01-01"])
def test_a_time_in_which_no_expiry_can_be_counted_is_refused(
    store: Shop, command: str, time: str
) -> None:
    words = ("--yes",) if command == "apply" else ()
    done = store.run(command, "--now", time, *words).check(1)
    assert "not between 2000 and 3000" in done.err


def test_a_parameter_without_a_value_is_told_at_once_where_it_can_be_nothing_else(
    store: Shop,
) -> None:
    store.spec(
        "  fans:\n    query: SELECT name AS user_account_id FROM people WHERE score > :low\n"
        "  both:\n"
        "    query: SELECT name AS user_account_id FROM people WHERE score > :low AND name <> :a\n"
        "    params: {a: x}"
    )
    done = store.run("validate").check(1)
    assert "segments.yaml:10:12: no value is given for :low in the query" in done.err
    assert "segments.yaml:12:12: no value is given for :low in the query" in done.err
    assert "hint: Give the segment `params: {low: …}`." in done.err
    assert "2 problems" in done.err


def test_a_database_that_cannot_be_reached_is_told_with_the_variable_of_its_url(
    store: Shop,
) -> None:
    path = store.folder / "segments.yaml"
    path.write_text(path.read_text().replace("sqlite:///shop.db", "${SHOP_URL}"))
    done = store.run("plan", SHOP_URL="mysql://me@127.0.0.1:1/shop").check(1)
    told = " ".join(done.out.split())
    assert "Is the database at 127.0.0.1:1 running" in told
    assert "That stands at segments.yaml:6:17 (${SHOP_URL})." in told


@pytest.mark.parametrize(
    "words",
    [
        ("init", "-f", "missing/new.yaml"),
        ("plan", "--out", "missing/plan"),
        ("plan", "--commands", "missing/commands"),
        ("state", "backup", "missing/copy.db"),
    ],
    ids=lambda words: words[0],
)
def test_a_folder_that_is_missing_is_told_before_any_work(
    store: Shop, words: tuple[str, ...]
) -> None:
    store.run("apply", "--yes").check(0)
    done = store.run(*words).check(1)
    assert "there is no folder missing" in done.err
    assert "mkdir -p missing" in done.err
    assert "read fans" not in done.err


@pytest.mark.parametrize(
    "words",
    [("init", "-f", "-"), ("plan", "--out", "-"), ("plan", "--commands", "-")],
    ids=lambda words: words[1],
)
def test_a_dash_is_no_file(store: Shop, words: tuple[str, ...]) -> None:
    assert "- is not a file" in store.run(*words).check(1).err
    assert not (store.folder / "-").exists()


def test_a_query_file_that_is_missing_is_told_with_those_that_there_are(store: Shop) -> None:
    (store.folder / "sql").mkdir()
    (store.folder / "sql" / "newsletter_readers.sql").write_text("SELECT 1")
    (store.folder / "sql" / "notes.txt").write_text("")
    for name, hint in (
        ("sql/fans.sql", "known: `newsletter_readers.sql`"),
        ("sql/newsletter_reader.sql", "did you mean `newsletter_readers.sql`?"),
        ("sql/fans.txt.old", "the path is relative to the file that it stands in"),
        ("queries/fans.sql", "there is no folder `queries`"),
    ):
        store.spec(f"  fans: {{query_file: {name}}}")
        assert f"hint: {hint}" in store.run("validate").check(1).err


def test_the_members_of_a_segment_that_was_not_compared_are_those_of_the_state(
    store: Shop,
) -> None:
    old = FANS.replace("fans", "old")
    store.spec(f"{FANS}\n{old}")
    store.run("apply", "--yes").check(0)
    broken = "SELECT nothing FROM nowhere"
    store.spec(f"  fans: {{query: {broken}}}\n  new: {{query: {broken}}}")
    done = store.run("plan", "--format", "json").check(1)
    found = {item["name"]: item for item in json.loads(done.out)["segments"]}
    assert {name: item["status"] for name, item in found.items()} == {
        "fans": "error",
        "new": "error",
        "old": "orphaned",
    }
    assert {name: item["snapshot"] for name, item in found.items()} == {
        "fans": 10,
        "new": 0,
        "old": 10,
    }
    lapsed = store.run("plan", "--format", "json", "--now", "2036-01-01").check(1)
    assert {item["snapshot"] for item in json.loads(lapsed.out)["segments"]} == {0}


def test_an_invalid_row_is_told_by_the_column_that_the_query_has(store: Shop) -> None:
    store.sql("DELETE FROM people", "INSERT INTO people VALUES ('not an address', 1)")
    store.spec("  fans: {query: SELECT name AS email FROM people, hash_email: sha256}")
    for words in (("plan",), ("plan", "--show-ids")):
        told = " ".join(store.run(*words).check(1).out.split())
        assert "1 of 1 row is invalid: 1 × not an e-mail address" in told
        assert "invalid not an e-mail address: email row 1" in told
        assert "user_account_id" not in told


def test_a_source_that_cannot_be_opened_is_told_once_with_its_segments(store: Shop) -> None:
    store.spec("\n".join(FANS.replace("fans", name) for name in ("fans", "b", "c")))
    (store.folder / "shop.db").unlink()
    done = store.run("plan").check(1)
    told = " ".join(done.out.split())
    assert "✗ fans, b and c have an error: nothing is sent for them" in told
    assert told.count("→ A relative path in a URL begins at the spec's folder.") == 1
    found = json.loads(store.run("plan", "--format", "json").check(1).out)["segments"]
    assert [item["error"] for item in found] == [found[0]["error"]] * 3


@pytest.mark.parametrize("setting", ["max_page_size=0", "finishes_after_ms=-1"])
def test_an_emulator_takes_no_number_that_makes_no_sense(store: Shop, setting: str) -> None:
    done = store.run("emulator", "--port", "0", "--set", setting).check(1)
    assert f"--set {setting.partition('=')[0]}: " in done.err
    assert "is less than" in done.err


def test_a_segment_that_is_called_otherwise_now_is_told_as_the_same(store: Shop) -> None:
    store.spec(FANS.replace("{", '{segment_id: "500", '))
    store.run("apply", "--yes").check(0)
    store.spec(FANS.replace("{", '{segment_id: "500", ').replace("fans", "friends"))
    told = " ".join(store.run("plan").check(0).out.split())
    assert "friends is what was fans in the spec before, as both are segment_id=500" in told
    assert "No changes." in told
    store.run("apply", "--yes").check(0)
    assert "what was fans" not in store.run("plan").check(0).out


def test_a_plan_file_that_is_missing_is_told_before_a_terminal_that_is(store: Shop) -> None:
    done = store.run("apply", "nofile").check(1)
    assert "there is no plan file nofile" in done.err
    assert "terminal" not in done.err


def test_a_state_that_is_the_spec_itself_is_not_called_damaged(store: Shop) -> None:
    path = store.folder / "segments.yaml"
    path.write_text(f"state: segments.yaml\n{path.read_text()}")
    for words in (("status",), ("plan",)):
        done = store.run(*words).check(1)
        assert "segments.yaml:1:8: that is this file, the spec" in done.err
        assert "damaged" not in done.err


@pytest.mark.parametrize("words", [("--samples", "5"), ("--show-ids",)], ids=lambda words: words[0])
def test_options_that_do_nothing_to_the_json_of_a_plan_are_told(
    store: Shop, words: tuple[str, ...]
) -> None:
    done = store.run("plan", "--format", "json", *words).check(0)
    assert f"{words[0]} without effect" in done.err
    assert "without effect" not in store.run("plan", "--format", "json").check(0).err
    assert "without effect" not in store.run("plan", *words).check(0).err


def test_entries_under_removed_that_mean_nothing_are_told(store: Shop) -> None:
    store.spec(FANS.replace("fans", "spring_campaign"))
    store.run("apply", "--yes").check(0)
    store.spec(FANS, removed="{spring_campain: delete, some_older_one: delete}")
    told = " ".join(store.run("plan").check(0).out.split())
    assert "segments.yaml:10:11: the state has no segment 'spring_campain' to remove" in told
    assert "did you mean 'spring_campaign'?" in told
    assert "`removed` has what the state does not know: some_older_one." in told
    store.spec(FANS, removed="{spring_campaign: delete}")
    told = store.run("plan").check(0).out
    assert "did you mean" not in told
    assert "`removed` has" not in told


def test_what_a_limit_leaves_out_is_counted(store: Shop) -> None:
    people = [store.emulator.account(f"person-{number:05}") for number in range(3)]
    store.emulator.reject(people, reason="too young")
    store.run("apply", "--yes").check(4)
    assert "… 2 more: --limit N" in store.run("state", "rejects", "--limit", "1").check(0).out
    assert "more:" not in store.run("state", "rejects", "--limit", "3").check(0).out
    assert "… 6 more: --limit N" in store.run("state", "members", "fans", "--limit", "1").out


def test_an_emulator_of_a_datamart_that_no_spec_can_name_is_refused(store: Shop) -> None:
    assert "not an id" in store.run("emulator", "--datamart", "abc").check(1).err


@pytest.mark.parametrize("name", ["shop.db", ".segsync/state.db", "segments.yaml"])
def test_an_emulator_leaves_a_file_alone_that_is_not_its_own(store: Shop, name: str) -> None:
    store.run("apply", "--yes").check(0)
    before = (store.folder / name).read_bytes()
    done = store.run("emulator", "--port", "0", "--data", name).check(1)
    assert "hint: name another file" in done.err
    assert (store.folder / name).read_bytes() == before
    assert not (store.folder / f"{name}.files").exists()


def test_a_key_without_a_certificate_is_not_passed_over(store: Shop) -> None:
    assert "--certificate" in store.run("emulator", "--key", "key.pem").check(1).err


@pytest.mark.parametrize("size", ["1KB", "15.9MB", "0GB"])
def test_memory_in_which_nothing_can_begin_is_refused(store: Shop, size: str) -> None:
    assert "too little" in store.run("plan", "--memory-limit", size).check(1).err
    store.run("plan", "--memory-limit", "16MB").check(0)


@pytest.mark.many_rows
@pytest.mark.parametrize("is_removed", [False, True], ids=["desired", "removed"])
def test_no_room_for_what_does_not_fit_into_memory_is_told(
    store: Shop, tmp_path: Path, is_removed: bool
) -> None:
    store.sql(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
        " INSERT INTO people SELECT 'person-' || i || hex(i * 7919), i FROM n"
    )
    if is_removed:
        store.run("apply", "--yes").check(0)
        store.spec("  {}", removed="{fans: delete}")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    # Kilobytes: a state without members fits into them, what is compared does not.
    limit = ["bash", "-c", 'ulimit -f 320; exec "$@"', "bash"]
    command = [sys.executable, "-m", "segsync", "plan", "--memory-limit", "16MB"]
    done = subprocess.run(
        [*limit, *command],
        cwd=store.folder,
        env=environment(TMPDIR=str(scratch), PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    told = Done(done.returncode, done.stdout, done.stderr).private().check(1).err
    assert "segment fans: the comparison failed" in " ".join(told.split())
    assert "File too large" in told
    assert "--memory-limit, or free space in the folder for temporary files" in " ".join(
        told.split()
    )
    assert list(scratch.iterdir()) == []


def test_options_that_leave_no_segment_are_no_plan_without_changes(store: Shop) -> None:
    done = store.run("plan", "--target", "fans", "--exclude", "fans").check(1)
    assert "--target and --exclude leave no segment" in done.err


@pytest.mark.parametrize(
    "words", [("members", "fans"), ("rejects",), ("backup", "copy.db")], ids=lambda words: words[0]
)
def test_who_looks_into_a_state_that_is_not_there_is_told_so(
    store: Shop, words: tuple[str, ...]
) -> None:
    done = store.run("state", *words).check(1)
    assert "there is no state at .segsync/state.db yet" in done.err
    assert not store.state.exists()


def test_a_database_that_is_no_state_is_not_told_as_a_damaged_page(store: Shop) -> None:
    path = store.folder / "segments.yaml"
    path.write_text(f"state: shop.db\n{path.read_text()}")
    (store.folder / "shop.db").chmod(0o600)
    done = store.run("status").check(1)
    assert "it is a SQLite file, but not a state of segsync" in " ".join(done.err.split())


def test_a_run_of_a_moved_clock_is_not_told_as_just_now(store: Shop) -> None:
    store.move_clock("2090-01-01")
    store.run("apply", "--yes", "--now", "2090-01-01").check(0)
    assert "just now" not in store.run("status").check(0).out
    assert "days ahead" in store.run("status").check(0).out


@pytest.mark.parametrize("token", ["", "two words", "é", "\t"])
def test_an_emulator_takes_no_token_that_no_spec_can_have(store: Shop, token: str) -> None:
    done = store.run("emulator", "--port", "0", "--token", token).check(1)
    assert "no spec can have such a token" in done.err


def test_what_to_type_after_a_plan_names_the_file(store: Shop) -> None:
    (store.folder / "segments.yaml").rename(store.folder / "other.yaml")
    for words in (("-f", "other.yaml", "plan"), ("plan", "-f", "other.yaml")):
        done = store.run(*words, "--out", "plan.segsync").check(0)
        assert "saved the plan: segsync apply -f other.yaml plan.segsync\n" in done.err
    done = store.run("plan", "--out", "plan.segsync", SEGSYNC_FILE="other.yaml").check(0)
    assert "saved the plan: segsync apply plan.segsync\n" in done.err


def test_what_to_type_after_init_names_the_file(store: Shop) -> None:
    done = store.run("init", "-f", "my segments.yaml").check(0)
    assert "  segsync validate -f 'my segments.yaml'\n" in done.out
    store.run("-f", "my segments.yaml", "validate", WAREHOUSE_URL="sqlite:///shop.db").check(0)


def test_a_limit_beyond_every_number_is_refused(store: Shop) -> None:
    store.run("apply", "--yes").check(0)
    for words in (("members", "fans"), ("rejects",)):
        assert "--limit" in store.run("state", *words, "--limit", "9" * 25).check(1).err


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_status_says_that_the_state_is_of_another_datamart(store: Shop, format: str) -> None:
    store.run("apply", "--yes").check(0)
    path = store.folder / "segments.yaml"
    path.write_text(path.read_text().replace('"1509"', '"1510"'))
    done = store.run("status", "--format", format).check(0)
    told = " ".join((done.err if format == "json" else done.out).split())
    assert "belongs to datamart 1509 at " in told
    assert "plan and apply refuse it" in told


def test_a_first_apply_to_a_wrong_address_leaves_nothing_in_the_way(store: Shop) -> None:
    path = store.folder / "segments.yaml"
    right = path.read_text()
    for wrong in (right.replace('"1509"', '"77"'), right.replace(store.url, f"{store.url}/v2")):
        path.write_text(wrong)
        store.run("apply", "--yes").check(1)
        assert store.state.exists()
        path.write_text(right)
        assert "10 to add" in store.run("plan").check(0).out
        assert "refuse it" not in " ".join(store.run("status").check(0).out.split())
    store.run("apply", "--yes").check(0)
    path.write_text(wrong)
    told = " ".join(store.run("apply", "--yes").check(1).err.split())
    assert "belongs to datamart 1509" in told
