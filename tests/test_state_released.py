"""A state that an earlier release has left is opened, and means what it meant.

Its words and checksums stand here as they were written then, not as today's code would write them:
whoever changes one of them must bring older states up to date by a migration.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from segsync.cli.files import copy_state
from segsync.errors import StateDamaged
from segsync.model import Address, IdentifierKind
from segsync.state import Identity, PartStatus, RunStatus, State, create, file, open_state
from segsync.state.schema import MIGRATIONS

VERSION_1 = """
PRAGMA foreign_keys = ON;
UPDATE identity SET serial = 5,
  records_seal = '8857db64c95dde944c58198b0957b8a4a1ecb75c8d0267c474a73d7fb7f47442',
  backlog_seal = 'd18d31012127cee1a43b7cc3e521c68315b1339a2bad181403a85755c6293c6a';
INSERT INTO segments VALUES
  (1, 'segment_technical_name', 'vip', 'vip', 17, 1790000000000, 5, '7001'),
  (2, 'segment_id', '4711', 'old friends', -3, 0, NULL, NULL);
INSERT INTO keyspaces VALUES
  (1, 1, 'user_account_id', NULL), (2, 1, 'user_account_id', '1000'), (3, 2, 'email_hash', NULL),
  (4, 2, 'user_agent_id', NULL);
INSERT INTO members VALUES (1, 'Zoé', 42, 0), (3, 'h1', 43, 1790000000001);
INSERT INTO pending VALUES (1, 'p', 'UPDATE', 44, 2), (2, 'q', 'DELETE', 0, 0);
INSERT INTO watched VALUES (1, 'p', 4);
INSERT INTO newcomers VALUES (4, 'agent');
INSERT INTO rejects VALUES
  (3, 'h2', 'UPDATE', 45, 'not a hash', 3, 1789000000000, 1789000000001, 1789000000002);
INSERT INTO runs VALUES
  (1, 'segsync-lineage-00000001', 'done', 1, 2, '5001', 'spec', 1, '', 1, 0, 0, 0),
  (2, 'segsync-lineage-00000002', 'partly rejected', 3, 4, '5002', 'spec', 2, '', 1, 1, 0, 0),
  (3, 'segsync-lineage-00000003', 'unknown', 5, 6, '5003', 'spec', 1, '', 0, 0, 1, 0),
  (4, 'segsync-lineage-00000004', 'unsent', 7, 8, NULL, 'spec', 1, '', 0, 0, 0, 1),
  (5, 'segsync-lineage-00000005', 'done', 9, 10, '5005', 'spec', 0, '', 0, 0, 0, 0),
  (6, 'segsync-lineage-00000006', 'open', 11, NULL, '5006', 'spec', 7,
    '45fc46b78763321906655593abd0ec7ee6d855b303b2e170d6ad1af819595714', 0, 0, 0, 0);
INSERT INTO parts VALUES
  (6, 1, 1, 1, 1, 90, 'a1', 'confirmed', '6001', 1, 0, 1, 0),
  (6, 2, 1, 2, 2, 90, 'a2', 'sent', '6002', NULL, NULL, 1, 0),
  (6, 3, 2, 3, 3, 90, 'a3', 'unattributed', '6003', 0, 1, 1, 0),
  (6, 4, 2, 4, 4, 90, 'a4', 'unknown', NULL, NULL, NULL, 0, 1),
  (6, 5, 2, 5, 5, 90, 'a5', 'sending', NULL, NULL, NULL, 0, 0),
  (6, 6, 2, 6, 6, 90, 'a6', 'waiting', NULL, NULL, NULL, 0, 0),
  (6, 7, 2, 7, 7, 90, 'a7', 'unsent', NULL, NULL, NULL, 0, 0);
INSERT INTO changes VALUES
  (1, 1, 'a', 'remove', 0, 0, 1), (2, 1, 'b', 'remove', 0, 0, 2), (3, 1, 'c', 'add', 46, 0, 3),
  (4, 2, 'd', 'update', 47, 1790000000002, 4), (5, 2, 'é', 'renew', 48, 1790000000003, 5),
  (6, 3, 'f', 'add', 49, 0, 6), (7, 3, 'g', 'forget', 0, 0, -7);
"""


@pytest.fixture
def version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state.db"
    with monkeypatch.context() as then:
        then.setattr(file, "MIGRATIONS", MIGRATIONS[:1])
        then.setattr(file, "SCHEMA_VERSION", 1)
        create(path, Identity("lineage", 0, "1509", "https://api.mediarithmics.com", 99))
    with closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1)
    return path


@pytest.fixture
def state(version_1: Path) -> Iterator[State]:
    with closing(open_state(version_1, read_only=False)) as opened:
        yield opened


def test_its_checksums_are_those_of_today(state: State) -> None:
    state.check_whole()
    run = state.open_run()
    assert run
    state.check_changes(run)


def test_whoever_changed_one_of_its_words_is_noticed(version_1: Path) -> None:
    for sql in (
        "UPDATE parts SET status = 'sent' WHERE number = 5",
        "UPDATE pending SET failures = 0",
        "UPDATE keyspaces SET segment = 2 WHERE id = 2",
    ):
        whole = version_1.read_bytes()
        with closing(sqlite3.connect(version_1)) as database, database:
            database.execute(sql)
        with pytest.raises(StateDamaged):
            open_state(version_1, read_only=False)
        version_1.write_bytes(whole)


def test_it_is_copied_as_it_is(version_1: Path) -> None:
    """Who updates segsync wants a backup before the first apply, which brings it up to date."""
    copy = version_1.with_name("copy.db")
    assert copy_state(version_1, copy) == 5
    assert copy.read_bytes() == version_1.read_bytes()


def test_its_segments_are_known(state: State) -> None:
    vip, old = state.segments()
    assert (vip.address, vip.name) == (Address("segment_technical_name", "vip"), "vip")
    assert (vip.digest, vip.reasserted_at, vip.last_run, vip.platform_id) == (
        17, 1_790_000_000_000, 5, "7001",
    )  # fmt: skip
    assert (old.address, old.name, old.digest) == (Address("segment_id", "4711"), "old friends", -3)
    kinds = [(one.segment, one.kind, one.compartment_id) for one in state.keyspaces()]
    assert kinds == [
        (1, IdentifierKind.USER_ACCOUNT_ID, None),
        (1, IdentifierKind.USER_ACCOUNT_ID, "1000"),
        (2, IdentifierKind.EMAIL_HASH, None),
        (2, IdentifierKind.USER_AGENT_ID, None),
    ]
    assert state.member_counts() == {1: 1, 2: 1}


def test_what_it_has_not_settled_is_known(state: State) -> None:
    assert state.pending_counts(of_open_run=False) == {1: 2}
    assert state.watched_segments() == {1}
    [reject] = state.rejects(10, show_ids=True)
    assert (reject.identifier, reject.reason, reject.attempts) == ("h2", "not a hash", 3)
    with state.doubted(1) as doubted:
        assert doubted.read_all().num_rows > 0


def test_its_runs_and_parts_are_known(state: State) -> None:
    assert [run.status for run in state.last_runs(10)] == [
        RunStatus.OPEN,
        RunStatus.DONE,
        RunStatus.UNSENT,
        RunStatus.UNKNOWN,
        RunStatus.PARTLY_REJECTED,
        RunStatus.DONE,
    ]
    run = state.open_run()
    assert run
    assert (run.serial, run.reference, run.import_id) == (6, "segsync-lineage-00000006", "5006")
    assert [part.status for part in run.parts] == [
        PartStatus.CONFIRMED,
        PartStatus.SENT,
        PartStatus.UNATTRIBUTED,
        PartStatus.UNKNOWN,
        PartStatus.SENDING,
        PartStatus.WAITING,
        PartStatus.UNSENT,
    ]
    assert run.sent == 6
    assert [part.is_watched for part in run.parts] == [False] * 3 + [True] + [False] * 3
    with state.changes() as changes:
        words = changes.read_all().column("change").to_pylist()
    assert words == ["remove", "remove", "add", "update", "renew", "add"]
