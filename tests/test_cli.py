"""The commands, run for real: a shop in SQLite, a platform on a socket, processes of their own."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from segsync import __version__
from segsync.emulator import ExecutionScript, http_error
from segsync.spec import json_schema, load_spec
from segsync.state import hold
from tests.support.canary import PASSWORDS, TOKEN, secrets_in
from tests.support.cli import FANS, ROOT, Shop, environment, shop, words_of

BIG_NAME = "those_who_bought_something_in_every_quarter_since_the_beginning_of_last_year"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Shop]:
    """A shop with ten people, all of them fans."""
    with shop(tmp_path) as made:
        yield made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---------------------------------------------------------------- plan


def test_a_plan_shows_its_summary_first_and_its_verdict_last(store: Shop) -> None:
    done = store.run("plan").check(0)
    lines = done.out.splitlines()
    assert lines[0].startswith("Plan for datamart 1509 at 127.0.0.1:")
    assert lines[2].startswith("! No apply is recorded in the state .segsync/state.db yet")
    assert lines[6].split() == ["segment", "now", "after", "+", "~", "↻", "−", "unchanged"]
    assert words_of(done.out, "fans") == ["0", "10", "10", "–", "–", "–", "–"]
    assert lines[-2:] == [
        "Plan: 10 to add, 0 to update, 0 to renew, 0 to remove.",
        f"10 commands, {len(payload(store)) / 1000:.1f} kB, 1 execution.",
    ]


def payload(store: Shop) -> bytes:
    store.run("plan", "--commands", "payload")
    return (store.folder / "payload").read_bytes()


def test_a_plan_writes_nothing(store: Shop) -> None:
    before = {path: path.read_bytes() for path in store.folder.iterdir()}
    store.run("plan", "--detailed-exitcode").check(2)
    assert {path: path.read_bytes() for path in store.folder.iterdir()} == before
    assert not any(record.method != "GET" for record in store.emulator.request_log)


def test_the_result_is_on_standard_output_and_the_progress_is_not(store: Shop) -> None:
    done = store.process("plan")
    assert "read fans: 10 rows" in done.err
    assert "read fans" not in done.out
    assert "Plan:" not in done.err


def test_the_json_of_a_plan_is_exactly_as_documented(store: Shop) -> None:
    done = store.run("plan", "--format", "json", "--commands", "payload").check(0)
    assert "Plan: 10 to add" in done.err
    assert done.out.isascii()
    plan = json.loads(done.out)
    assert list(plan) == [
        "format_version", "lineage", "serial", "spec_sha256", "created_at", "segments", "totals",
    ]  # fmt: skip
    assert (plan["format_version"], plan["serial"]) == (1, 0)
    assert plan["created_at"].endswith("Z")
    assert plan["segments"] == [
        {
            "name": "fans", "status": "ok", "queried": 10, "duplicates": 0, "invalid": 0,
            "desired": 10, "snapshot": 0, "add": 10, "update": 0, "renew": 0, "remove": 0,
            "unchanged": 0, "retry": 0, "violations": [], "error": None,
        }
    ]  # fmt: skip
    assert list(plan["segments"][0]) == [
        "name", "status", "queried", "duplicates", "invalid", "desired", "snapshot", "add",
        "update", "renew", "remove", "unchanged", "retry", "violations", "error",
    ]  # fmt: skip
    assert plan["totals"] == {
        "add": 10, "update": 0, "renew": 0, "remove": 0, "unchanged": 0, "commands": 10,
        "bytes": (store.folder / "payload").stat().st_size, "executions": 1,
    }  # fmt: skip


def test_the_commands_that_are_written_are_those_that_are_sent(store: Shop) -> None:
    planned = payload(store)
    assert mode(store.folder / "payload") == 0o600
    store.run("apply", "--yes").check(0)
    [upload] = [r for r in store.emulator.request_log if r.endpoint == "upload"]
    assert upload.payload is not None
    assert upload.payload.read_bytes() == planned


def test_commands_of_two_parts_are_two_files(store: Shop) -> None:
    store.run("apply", "--yes").check(0)
    store.spec("  fans: {query: SELECT name AS email_hash FROM people}")
    (store.folder / "payload").write_text('{"operation":"of an earlier plan"}')
    done = store.run("plan", "--commands", "payload", "--allow", "fans").check(0)
    assert not (store.folder / "payload").exists()
    first, second = (
        [json.loads(line)["operation"] for line in path.read_text().splitlines()]
        for path in (store.folder / "payload.1", store.folder / "payload.2")
    )
    assert (first, second) == (["DELETE"] * 10, ["UPDATE"] * 10)
    assert "2 executions, removals first." in done.out


def test_of_the_commands_of_an_earlier_plan_none_are_left_and_of_others_none_are_touched(
    store: Shop,
) -> None:
    spec = store.folder / "segments.yaml"
    whole = spec.read_text()
    spec.write_text(whole.replace("  api_url:", "  max_upload_bytes: 300\n  api_url:"))
    store.run("plan", "--commands", "payload").check(0)
    assert len(list(store.folder.glob("payload*"))) > 3
    others = {"payload.txt", "payload.of-others.2", "payload.02"}
    for name in others:
        (store.folder / name).write_text('{"operation":"of somebody else"}')
    spec.write_text(whole)
    store.run("plan", "--commands", "payload").check(0)
    assert {path.name for path in store.folder.glob("payload*")} == {"payload", *others}
    (store.folder / "payload.2").write_text("of somebody else")
    done = store.run("plan", "--commands", "payload").check(1)
    assert "payload.2 exists, and no earlier plan has left it" in " ".join(done.err.split())


@pytest.mark.parametrize("option", ["--out", "--commands"])
def test_a_slip_of_the_hand_costs_no_file(store: Shop, option: str) -> None:
    store.run("apply", "--yes").check(0)
    for name in ("segments.yaml", "shop.db", ".segsync/state.db", ".segsync", "/dev/full"):
        done = store.run("plan", option, name).check(1)
        assert "name a" in done.err
    assert not Path("/dev/full").is_file()
    store.run("plan", option, "file").check(0)
    store.run("plan", option, "file").check(0)
    for saved in ("x", "x.1", "../" + store.folder.name + "/x.12"):
        done = store.run("plan", "--out", saved, "--commands", "x").check(1)
        assert "same file" in done.err


def test_without_changes_the_plan_says_so_and_the_commands_are_empty(store: Shop) -> None:
    store.run("apply", "--yes").check(0)
    done = store.run("plan", "--detailed-exitcode", "--commands", "payload").check(0)
    assert done.out.splitlines()[-1] == "No changes."
    assert (store.folder / "payload").read_bytes() == b""


def test_identifiers_are_masked_unless_they_are_asked_for(store: Shop) -> None:
    masked = store.run("plan").out + store.run("plan", "--format", "html").out
    assert "person-0" not in masked
    assert "pe…01" in masked
    shown = store.run("plan", "--show-ids").out
    assert "person-00001" in shown


def test_samples_can_be_more_or_none(store: Shop) -> None:
    assert store.run("plan", "--samples", "7").out.count("pe…") == 7
    assert "pe…" not in store.run("plan", "--samples", "0").out


def test_a_blocked_segment_names_its_figures_and_the_flag_that_lets_it_through(
    store: Shop,
) -> None:
    store.spec(f"{FANS}\n  {BIG_NAME}: {{query: SELECT name AS user_account_id FROM people}}")
    store.run("apply", "--yes").check(0)
    store.people(4)
    store.spec(f"{FANS.replace('}', ', guard: {max_removed: 90%}}')}\n"
               f"  {BIG_NAME}: {{query: SELECT name AS user_account_id FROM people}}")  # fmt: skip
    done = store.run("plan", COLUMNS="80").check(3)
    assert max(map(len, done.out.splitlines())) <= 80 + len(BIG_NAME)
    flat = " ".join(done.out.split())
    assert "6 of 10 members (60.0%) would be removed; the limit is 30 %" in flat
    assert f"--allow {BIG_NAME}" in done.out
    assert "held back: 6 to remove" in done.out
    assert done.out.splitlines()[-1].endswith("1 segment blocked.")
    assert words_of(done.out, "fans") == ["10", "4", "–", "–", "–", "6", "4"]
    report = json.loads(store.run("plan", "--format", "json").check(3).out)
    [blocked] = [s for s in report["segments"] if s["status"] == "blocked"]
    assert [set(item) for item in blocked["violations"]] == [{"guard", "message", "remedy"}]
    assert report["totals"]["remove"] == 6
    store.run("plan", "--allow", BIG_NAME).check(0)
    store.run("apply", "--yes").check(3)
    assert len(store.emulator.members(BIG_NAME)) == 10
    assert len(store.emulator.members("fans")) == 4


def test_a_failed_query_is_told_with_its_place_and_the_others_go_on(store: Shop) -> None:
    store.spec(f"{FANS}\n  broken: {{query: SELECT wrong FROM nowhere}}")
    done = store.run("plan").check(1)
    assert "broken has an error: nothing is sent for it" in done.out
    assert re.search(r"segments.yaml:10:\d+: the query failed in source `shop`", done.out)
    assert done.out.splitlines()[-1].endswith("1 segment in error.")
    store.run("apply", "--yes").check(1)
    assert len(store.emulator.members("fans")) == 10


def test_an_orphan_is_told_with_its_remedies_and_then_removed_as_said(store: Shop) -> None:
    store.run("apply", "--yes").check(0)
    store.spec(FANS.replace("fans", "others"))
    done = store.run("plan").check(0)
    assert "fans is orphaned: nothing is sent for it" in done.out
    assert "removed: {fans: delete}" in done.out
    store.spec(FANS.replace("fans", "others"), removed="{fans: delete}")
    assert "fans is removed: 10 members to remove" in store.run("plan").out
    store.run("apply", "--yes").check(0)
    assert not store.emulator.members("fans")


def test_a_partial_plan_is_labelled(store: Shop) -> None:
    store.spec(f"{FANS}\n{FANS.replace('fans', 'others')}")
    done = store.run("plan", "--target", "fans").check(0)
    assert "This plan is partial" in done.out
    assert "others" not in done.out
    assert "fans" not in words_of(store.run("plan", "--exclude", "fans").out, "others")
    wrong = store.run("plan", "--target", "fan").check(1)
    assert "did you mean 'fans'?" in wrong.err


def test_invalid_rows_that_are_skipped_are_counted(store: Shop) -> None:
    store.sql("INSERT INTO people VALUES (NULL, 0), ('', 0)")
    store.spec("  fans: {query: SELECT name AS user_account_id FROM people, invalid_rows: skip}")
    done = store.run("plan", COLUMNS="200").check(0)
    assert "2 of 12 rows left out: 1 × no identifier" in done.out
    assert "invalid empty identifier: user_account_id row 12" in done.out


def test_a_plan_as_of_another_moment_renews(store: Shop) -> None:
    store.run("apply", "--yes").check(0)
    done = store.run("plan", "--now", "2999-01-01").check(0)
    assert words_of(done.out, "fans")[2:6] == ["10", "–", "–", "–"]
    assert "lapsed on" in done.out
    assert "not a time" in store.run("plan", "--now", "tomorrow").check(1).err


# ---------------------------------------------------------------- apply


def test_an_apply_sends_what_was_planned_and_then_nothing(store: Shop) -> None:
    done = store.process("apply", "--yes").check(0)
    assert words_of(done.out, "fans") == ["0", "10", "10", "–", "–", "–", "–"]
    assert "Applied: 10 confirmed in " in done.out
    assert ": import 1001, execution 5001" in done.out
    assert len(store.emulator.members("fans")) == 10
    again = store.process("apply", "--yes").check(0)
    assert "No changes." in again.out
    assert "Applied" not in again.out


def test_an_apply_without_a_terminal_needs_yes(store: Shop) -> None:
    done = store.process("apply").check(1)
    assert "add --yes" in done.err
    assert not store.state.exists()
    assert not store.emulator.request_log


def test_the_json_of_a_report_names_everything(store: Shop) -> None:
    done = store.process("apply", "--yes", "--format", "json").check(0)
    report = json.loads(done.out)
    assert (report["format_version"], report["exit_status"], report["agreed"]) == (1, 0, True)
    assert report["recovered"] is None
    assert report["plan"]["totals"]["add"] == 10
    run = report["run"]
    assert run["reference"].endswith("00000001")
    assert (run["import_id"], run["execution_ids"]) == ("1001", ["5001"])
    assert run["segments"] == [
        {"name": "fans", "confirmed": 10, "rejected": 0, "unknown": 0, "unsent": 0}
    ]
    assert run["seconds"] > 0
    assert run["problems"] == []
    assert (run["given_up"], run["doubted"]) == (0, 0)
    assert "Plan: 10 to add" in done.err


def test_a_saved_plan_is_sent_as_it_is_once(store: Shop) -> None:
    saved = store.run("plan", "--out", "plan.segsync").check(0)
    assert "segsync apply plan.segsync" in saved.err
    assert mode(store.folder / "plan.segsync") == 0o600
    store.people(20)
    refused = store.run("apply", "plan.segsync", "--target", "fans", "--yes").check(1)
    assert "applied as it is" in refused.err
    store.run("apply", "plan.segsync", "--yes").check(0)
    assert len(store.emulator.members("fans")) == 10
    assert "stale" in store.run("apply", "plan.segsync", "--yes").check(1).err
    assert "no plan file" in store.run("apply", "nothing.segsync", "--yes").check(1).err


def test_rejects_end_with_four_and_are_explained(store: Shop) -> None:
    store.emulator.reject([store.emulator.account("person-00003")], reason="too \x1b[2J young")
    done = store.run("apply", "--yes").check(4)
    assert "9 confirmed, 1 rejected" in done.out
    assert "`segsync state rejects`" in done.out
    rejects = store.run("state", "rejects", COLUMNS="200").check(0)
    assert "\x1b" not in rejects.out
    assert "young" in rejects.out
    assert "UPDATE user_account_id pe…03" in rejects.out
    assert "person-00003" in store.run("state", "rejects", "--show-ids", COLUMNS="200").out
    assert "fans: 1 × " in store.run("status").out


def test_an_outcome_that_is_unknown_ends_with_five_and_is_recovered(store: Shop) -> None:
    store.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    done = store.run("apply", "--yes").check(5)
    assert "Run `segsync apply` again" in done.out
    pending = json.loads(store.run("status", "--format", "json").check(0).out)
    assert pending["segments"][0]["pending"] == 10
    retried = store.run("apply", "--yes").check(0)
    assert "10 commands said again" in retried.out
    assert len(store.emulator.members("fans")) == 10


def test_an_apply_at_another_time_than_the_platforms_is_refused(store: Shop) -> None:
    """A clock that is ahead would write down expiries that nobody renews in time."""
    store.emulator.advance(minutes=-11)
    done = store.run("apply", "--yes").check(1)
    assert "and the platform's is" in " ".join(done.err.split())
    assert "set this machine's clock right" in " ".join(done.err.split())
    assert "upload" not in {entry.endpoint for entry in store.emulator.request_log}
    store.emulator.advance(minutes=20)
    store.run("apply", "--yes").check(0)


def test_a_time_is_refused_for_a_real_platform(store: Shop) -> None:
    store.move_clock("2030-01-01T00:00:00")
    store.run("apply", "--yes", "--now", "2030-01-01T00:00:00Z").check(0)
    text = (store.folder / "segments.yaml").read_text()
    real = text.replace(store.url, "https://api.mediarithmics.com")
    (store.folder / "segments.yaml").write_text(real)
    done = store.run("apply", "--yes", "--now", "2030-01-01T00:00:00Z").check(1)
    assert "--now is for rehearsals" in done.err


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_told_with_the_variable_that_holds_it(
    store: Shop, status: int
) -> None:
    store.emulator.faults.add("list_imports", http_error(status), call=None)
    done = store.run("apply", "--yes").check(1)
    assert "destination.api_token (the variable MICS_API_TOKEN)" in " ".join(done.err.split())


def test_while_a_run_is_open_every_error_ends_with_five_but_a_lock_with_six(store: Shop) -> None:
    store.leave_a_run_open()
    with hold(store.state, "apply"):
        store.run("apply", "--yes").check(6)
    store.emulator.faults.add("list_executions", http_error(401), call=None)
    done = store.run("apply", "--yes").check(5)
    assert "cannot be read" in done.err
    store.emulator.faults.clear()
    store.run("plan", "--out", "plan.segsync").check(0)
    assert "Recovered an earlier run: 10 confirmed" in store.run("apply", "--yes").check(0).out


def test_an_apply_of_very_many_that_was_killed_is_taken_up(store: Shop) -> None:
    """More than are read or written at once, anywhere."""
    store.people(51_000)
    store.leave_a_run_open()
    done = store.process("apply", "--yes").check(0)
    assert "51,000" in done.out
    assert len(store.emulator.members("fans")) == 51_000
    assert "No changes." in store.process("plan").check(0).out


def test_a_saved_plan_ends_an_open_run_before_it_is_refused(store: Shop) -> None:
    """A pipeline that only applies saved plans must not be stuck after a job that was killed."""
    store.leave_a_run_open()
    store.run("plan", "--out", "plan.segsync").check(0)
    refused = store.run("apply", "plan.segsync", "--yes").check(1)
    assert "was ended just now" in " ".join(refused.err.split())
    store.people(12)
    store.run("plan", "--out", "next.segsync").check(0)
    store.run("apply", "next.segsync", "--yes").check(0)
    assert len(store.emulator.members("fans")) == 12


def test_a_plan_of_a_later_time_is_refused(store: Shop) -> None:
    """Members would be taken for lapsed who are not."""
    store.run("apply", "--yes").check(0)
    store.people(9)
    store.run("plan", "--now", "2036-01-01T00:00:00Z", "--out", "plan.segsync").check(0)
    refused = store.run("apply", "plan.segsync", "--yes").check(1)
    assert "made for a later time than now" in " ".join(refused.err.split())


def test_status_warns_of_members_that_have_lapsed(store: Shop) -> None:
    store.run("apply", "--yes").check(0)
    assert "lapsed" not in store.run("status").check(0).out
    done = store.run("status", "--now", "2036-01-01T00:00:00Z").check(0)
    assert "10 of 10 members have lapsed" in " ".join(done.out.split())
    found = json.loads(store.run("status", "--now", "2036-01-01T00:00:00Z", "--format", "json").out)
    assert found["segments"][0]["lapsed"] == 10


def test_the_password_of_a_source_is_never_shown(store: Shop) -> None:
    url = f"postgresql://reader:{PASSWORDS[0]}@127.0.0.1:1/shop"
    text = (store.folder / "segments.yaml").read_text()
    (store.folder / "segments.yaml").write_text(text.replace("sqlite:///shop.db", "${SHOP_URL}"))
    for arguments in (("plan",), ("plan", "--format", "json"), ("plan", "--format", "html")):
        done = store.run(*arguments, "--debug", SHOP_URL=url).check(1)
        assert not secrets_in((done.out + done.err).encode())


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg", "mysql+pymysql"])
@pytest.mark.parametrize("mark", "/?@#:")
def test_a_password_that_should_have_been_encoded_is_not_shown_in_pieces(
    store: Shop, driver: str, mark: str
) -> None:
    url = f"{driver}://reader:Xk7Qz9{mark}tail88@127.0.0.1:1/shop"
    text = (store.folder / "segments.yaml").read_text()
    (store.folder / "segments.yaml").write_text(text.replace("sqlite:///shop.db", "${SHOP_URL}"))
    for words in (("plan",), ("plan", "--format", "markdown"), ("plan", "--format", "json")):
        done = store.run(*words, SHOP_URL=url).check(1)
        assert "Xk7Qz9" not in done.out + done.err
        assert "tail88" not in done.out + done.err


# ---------------------------------------------------------------- the state


def test_the_status_works_before_the_first_apply_and_after(store: Shop) -> None:
    first = store.run("status").check(0)
    assert "There is no state at .segsync/state.db yet" in first.out
    assert json.loads(store.run("status", "--format", "json").out)["exists"] is False
    store.run("apply", "--yes").check(0)
    (store.folder / "shop.db").unlink()
    store.server.refuse_connections()
    done = store.run("status").check(0)
    assert words_of(done.out, "fans") == ["10", "–", "–", "just", "now,", "done"]
    assert "Last run: 1 at " in done.out
    status = json.loads(store.run("status", "--format", "json").out)
    later = json.loads(store.run("status", "--format", "json", "--now", "2999-01-01").out)
    assert later["segments"][0]["lapses_within_days"] == {"1": 0, "7": 0, "30": 0}
    [fans] = status["segments"]
    assert (fans["members"], fans["pending"], fans["rejects"]) == (10, 0, 0)
    assert fans["renews_within_days"] == {"1": 0, "7": 0, "30": 10}
    assert fans["lapses_within_days"] == {"1": 0, "7": 0, "30": 10}
    assert status["runs"][0]["status"] == "done"


def test_no_renewal_is_announced_for_members_whose_rows_bring_their_expiry(store: Shop) -> None:
    query = "SELECT name AS user_account_id, 4102444800000 AS expiration_ts FROM people"
    store.spec(f"  fans: {{query: '{query}', expiration: 30d}}\n")
    store.run("apply", "--yes").check(0)
    status = json.loads(store.run("status", "--format", "json", "--now", "2099-12-31").out)
    [fans] = status["segments"]
    assert fans["lapses_within_days"] == {"1": 0, "7": 10, "30": 10}
    assert fans["renews_within_days"] == {"1": 0, "7": 0, "30": 0}


def test_the_state_shows_itself_and_some_members(store: Shop) -> None:
    store.run("apply", "--yes").check(0)
    shown = store.run("state", "show", COLUMNS="200").check(0).out
    assert "segment_technical_name=fans  10 members" in shown
    assert "done: 10 confirmed  (import 1001)" in shown
    members = store.run("state", "members", "fans", "--limit", "3").check(0).out.splitlines()
    assert len(members) == 4
    assert members[0].startswith("user_account_id pe…00  until 2")
    assert members[3].startswith("… 7 more: ")
    assert len(store.run("state", "members", "fans").check(0).out.splitlines()) == 10
    assert "person-00000" in store.run("state", "members", "fans", "--show-ids").out
    assert "no segment 'fan'" in store.run("state", "members", "fan").check(1).err


def test_a_backup_is_private_whole_and_never_overwrites(store: Shop) -> None:
    nothing = store.run("state", "backup", "copy.db").check(1)
    assert "there is no state" in nothing.err
    store.run("apply", "--yes").check(0)
    store.run("state", "backup", "copy.db").check(0)
    assert (store.folder / "copy.db").read_bytes() == store.state.read_bytes()
    assert mode(store.folder / "copy.db") == 0o600
    assert "exists" in store.run("state", "backup", "copy.db").check(1).err
    assert not list(store.folder.glob("copy.db.*"))


# ---------------------------------------------------------------- the rest


def test_a_first_spec_is_written_once_and_is_valid(store: Shop) -> None:
    (store.folder / "segments.yaml").unlink()
    done = store.run("init").check(0)
    assert ".gitignore" in done.out
    variables = {"MICS_API_TOKEN": TOKEN, "WAREHOUSE_URL": "sqlite:///shop.db"}
    assert load_spec(store.folder / "segments.yaml", variables).segments
    valid = store.run("validate", **variables).check(0)
    assert valid.out == "segments.yaml is valid: 1 segment, 1 source\n"
    again = store.run("init").check(1)
    assert "segments.yaml exists" in again.err
    store.run("init", "-f", "other.yaml").check(0)


def test_every_problem_of_a_spec_has_a_line_with_its_place(store: Shop) -> None:
    store.spec("  fans: {query: 1, expiration: soon}\n  others: {querry: SELECT 1}")
    done = store.run("validate").check(1)
    places = [line for line in done.err.splitlines() if line.startswith("segments.yaml:")]
    assert len(places) >= 3
    assert places[0].startswith("segments.yaml:9:")
    assert "hint: did you mean `query`?" in done.err
    assert done.err.splitlines()[-1].startswith("Error: the spec has ")


def test_the_spec_is_named_before_or_behind_the_command_or_in_the_environment(
    store: Shop,
) -> None:
    (store.folder / "segments.yaml").rename(store.folder / "other.yaml")
    assert "does not exist" in store.run("validate").check(1).err
    store.run("validate", "-f", "other.yaml").check(0)
    store.run("-f", "other.yaml", "validate").check(0)
    store.run("validate", SEGSYNC_FILE="other.yaml").check(0)


def test_no_plugin_of_pydantic_sees_the_spec(store: Shop, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    about = elsewhere / "curious-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: curious\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[pydantic]\ncurious = curious:plugin\n")
    plugin = "def new_schema_validator(*_): return None, None, None\nimport curious as plugin\n"
    (elsewhere / "curious.py").write_text(f"print('I am here')\n{plugin}")
    where = f"{ROOT}{os.pathsep}{elsewhere}"
    assert store.process("validate", PYTHONPATH=where).check(0).out.count("I am here") == 0
    others = [sys.executable, "-c", "import pydantic; pydantic.TypeAdapter(int)"]
    assert b"I am here" in subprocess.check_output(others, env=environment(PYTHONPATH=where))


def test_the_schema_is_that_of_the_spec(store: Shop) -> None:
    assert json.loads(store.run("schema").check(0).out) == json_schema()
    included = store.run("schema", "--included").check(0)
    assert json.loads(included.out) == json_schema("included")


def test_the_version_is_shown(store: Shop) -> None:
    assert store.run("--version").check(0).out == f"segsync {__version__}\n"
