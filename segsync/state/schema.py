"""The tables of the state file, as a list of migrations that is only ever appended to.

Each migration runs in one transaction together with the version that records it, so that a killed
migration has not happened.
"""

from __future__ import annotations

APPLICATION_ID = 0x73656773
"""`segs` in ASCII: tells a state file from any other SQLite file."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE identity (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            lineage TEXT NOT NULL,
            serial INTEGER NOT NULL,
            datamart_id TEXT NOT NULL,
            api_origin TEXT NOT NULL,
            digest_probe INTEGER NOT NULL,
            records_seal TEXT NOT NULL DEFAULT '',
            backlog_seal TEXT NOT NULL DEFAULT ''
        )""",
        """CREATE TABLE segments (
            id INTEGER PRIMARY KEY,
            field TEXT NOT NULL CHECK (field IN ('segment_id', 'segment_technical_name')),
            value TEXT NOT NULL,
            name TEXT NOT NULL,
            digest INTEGER NOT NULL DEFAULT 0,
            reasserted_at INTEGER NOT NULL DEFAULT 0,
            last_run INTEGER,
            platform_id TEXT,
            UNIQUE (field, value)
        )""",
        """CREATE TABLE keyspaces (
            id INTEGER PRIMARY KEY,
            segment INTEGER NOT NULL REFERENCES segments (id),
            kind TEXT NOT NULL,
            compartment_id TEXT,
            UNIQUE (segment, kind, compartment_id)
        )""",
        """CREATE TABLE members (
            keyspace INTEGER NOT NULL,
            identifier TEXT NOT NULL,
            fingerprint INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            PRIMARY KEY (keyspace, identifier)
        ) WITHOUT ROWID""",
        """CREATE TABLE pending (
            keyspace INTEGER NOT NULL,
            identifier TEXT NOT NULL,
            operation TEXT NOT NULL,
            fingerprint INTEGER NOT NULL,
            failures INTEGER NOT NULL,
            PRIMARY KEY (keyspace, identifier)
        ) WITHOUT ROWID""",
        """CREATE TABLE watched (
            keyspace INTEGER NOT NULL,
            identifier TEXT NOT NULL,
            run INTEGER NOT NULL,
            PRIMARY KEY (keyspace, identifier, run)
        ) WITHOUT ROWID""",
        """CREATE TABLE newcomers (
            keyspace INTEGER NOT NULL,
            identifier TEXT NOT NULL,
            PRIMARY KEY (keyspace, identifier)
        ) WITHOUT ROWID""",
        """CREATE TABLE rejects (
            keyspace INTEGER NOT NULL,
            identifier TEXT NOT NULL,
            operation TEXT NOT NULL,
            fingerprint INTEGER NOT NULL,
            reason TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            first_at INTEGER NOT NULL,
            last_at INTEGER NOT NULL,
            next_attempt_at INTEGER NOT NULL,
            PRIMARY KEY (keyspace, identifier)
        ) WITHOUT ROWID""",
        """CREATE TABLE runs (
            serial INTEGER PRIMARY KEY,
            reference TEXT NOT NULL UNIQUE,
            status TEXT NOT NULL,
            submitted_at INTEGER NOT NULL,
            closed_at INTEGER,
            import_id TEXT,
            spec_sha256 TEXT NOT NULL,
            commands INTEGER NOT NULL,
            changes_seal TEXT NOT NULL,
            confirmed INTEGER NOT NULL DEFAULT 0,
            rejected INTEGER NOT NULL DEFAULT 0,
            unknown INTEGER NOT NULL DEFAULT 0,
            unsent INTEGER NOT NULL DEFAULT 0
        )""",
        """CREATE TABLE parts (
            run INTEGER NOT NULL REFERENCES runs (serial),
            number INTEGER NOT NULL,
            step INTEGER NOT NULL,
            first_line INTEGER NOT NULL,
            last_line INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            sha256 TEXT NOT NULL,
            status TEXT NOT NULL,
            execution_id TEXT,
            total_success INTEGER,
            total_failure INTEGER,
            executions INTEGER NOT NULL DEFAULT 0,
            is_watched INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (run, number)
        ) WITHOUT ROWID""",
        """CREATE TABLE changes (
            line INTEGER PRIMARY KEY,
            keyspace INTEGER NOT NULL,
            identifier TEXT NOT NULL,
            change TEXT NOT NULL,
            fingerprint INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            digest INTEGER NOT NULL
        )""",
        "CREATE TABLE rejected_lines (line INTEGER PRIMARY KEY, reason TEXT NOT NULL)",
        """CREATE VIEW membership AS
            SELECT s.name AS segment, k.kind, k.compartment_id, m.identifier,
                CASE m.expires_at WHEN 0 THEN 'never'
                    ELSE strftime('%Y-%m-%dT%H:%M:%SZ', m.expires_at / 1000, 'unixepoch')
                END AS expires
            FROM members m JOIN keyspaces k ON k.id = m.keyspace
            JOIN segments s ON s.id = k.segment""",
    ),
    (
        """CREATE TABLE recent (
            keyspace INTEGER NOT NULL,
            identifier TEXT NOT NULL,
            fingerprint INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            is_member INTEGER NOT NULL,
            PRIMARY KEY (keyspace, identifier)
        ) WITHOUT ROWID""",
        """CREATE VIEW confirmed AS
            SELECT keyspace, identifier, fingerprint, expires_at FROM members m
            WHERE NOT EXISTS (SELECT 1 FROM recent r
                WHERE r.keyspace = m.keyspace AND r.identifier = m.identifier)
            UNION ALL
            SELECT keyspace, identifier, fingerprint, expires_at FROM recent WHERE is_member""",
        "DROP VIEW membership",
        """CREATE VIEW membership AS
            SELECT s.name AS segment, k.kind, k.compartment_id, m.identifier,
                CASE m.expires_at WHEN 0 THEN 'never'
                    ELSE strftime('%Y-%m-%dT%H:%M:%SZ', m.expires_at / 1000, 'unixepoch')
                END AS expires
            FROM confirmed m JOIN keyspaces k ON k.id = m.keyspace
            JOIN segments s ON s.id = k.segment""",
    ),
)

SCHEMA_VERSION = len(MIGRATIONS)
