"""Which modules are mutated, and which tests must see it: the quickest to notice come first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parents[2]
_COMPARING = ("test_fingerprint", "test_compare", "test_payload", "test_spans", "test_apply")
_CLOSING = (
    "test_state_layers", "test_state_settling", "test_state_closing", "test_state_newcomers",
    "test_rejects", "test_late_removals", "test_apply", "test_rekeying", "test_state_file",
)  # fmt: skip
_SENDING = (
    "test_waiting", "test_sending", "test_apply", "test_recovery", "test_rejects", "test_rekeying",
    "test_late_executions",
)  # fmt: skip

TESTS: Mapping[str, tuple[str, ...]] = {
    "segsync/engine/compare.py": (*_COMPARING, "test_rejects", "test_expiry", "test_rekeying"),
    "segsync/engine/rules.py": (*_COMPARING, "test_rejects", "test_expiry", "test_rekeying"),
    "segsync/engine/join.py": _COMPARING,
    "segsync/engine/commands.py": (
        "test_payload", "test_compare", "test_apply", "test_planfile", "test_expiry",
        "test_rekeying",
    ),
    "segsync/engine/wire_text.py": (
        "test_payload", "test_compare", "test_apply", "test_planfile", "test_expiry",
        "test_rekeying",
    ),
    "segsync/engine/desired.py": _COMPARING,
    "segsync/engine/normalising.py": _COMPARING,
    "segsync/engine/fingerprint.py": _COMPARING,
    "segsync/engine/json_sql.py": _COMPARING,
    "segsync/engine/portions.py": ("test_portions", *_COMPARING),
    "segsync/engine/snapshot.py": (
        "test_snapshot", "test_spans", "test_compare", "test_state_reading", "test_apply",
        "test_state_file",
    ),
    "segsync/engine/rejects.py": ("test_error_files", "test_rejects"),
    "segsync/engine/examples.py": ("test_compare", "test_apply", "test_render_plan", "test_cli"),
    "segsync/engine/engine.py": (*_COMPARING, "test_snapshot", "test_planfile"),
    "segsync/engine/session.py": (*_COMPARING, "test_snapshot", "test_cli"),
    "segsync/engine/keyspaces.py": _COMPARING,
    "segsync/state/closing.py": (*_CLOSING, "test_expiry", "test_recovery"),
    "segsync/state/settling.py": (*_CLOSING, "test_expiry", "test_recovery"),
    "segsync/state/late_removals.py": (
        "test_state_newcomers", "test_state_watching", "test_late_removals", "test_rekeying",
        "test_rejects",
    ),
    "segsync/state/layers.py": _CLOSING,
    "segsync/state/confirmed.py": (
        "test_state_layers", "test_state_reading", "test_apply", "test_state_file",
    ),
    "segsync/state/journal.py": (
        "test_state_questions", "test_state_closing", "test_state_store", "test_apply",
        "test_expiry", "test_recovery", "test_state_file",
    ),
    "segsync/state/reading.py": (
        "test_state_layers", "test_state_questions", "test_state_readers", "test_state_store",
        "test_state_reading", "test_status", "test_apply", "test_rejects", "test_state_file",
        "test_recovery", "test_expiry", "test_late_executions",
    ),
    "segsync/state/open_changes.py": (
        "test_state_questions", "test_state_reading", "test_recovery", "test_apply",
    ),
    "segsync/state/store.py": (
        "test_state_store", "test_state_reading", "test_apply", "test_rejects", "test_state_file",
        "test_recovery",
    ),
    "segsync/state/file.py": (
        "test_state_header", "test_state_making", "test_state_file", "test_state_lock",
        "test_apply",
    ),
    "segsync/state/seal.py": (
        "test_state_released", "test_state_readers", "test_state_store", "test_state_file",
        "test_apply",
    ),
    "segsync/state/database.py": (
        "test_state_database", "test_state_readers", "test_state_store", "test_state_reading",
        "test_state_file", "test_state_signals", "test_apply",
    ),
    "segsync/state/watching.py": (
        "test_state_watching", "test_late_executions", "test_recovery", "test_rekeying",
    ),
    "segsync/state/opening.py": (
        "test_state_file", "test_state_reading", "test_state_migrations", "test_apply",
    ),
    "segsync/state/lock.py": ("test_state_holder", "test_state_lock"),
    "segsync/state/records.py": (
        "test_state_released", "test_state_settling", "test_state_store", "test_state_reading",
        "test_status", "test_apply", "test_old_copies", "test_state_file",
    ),
    "segsync/state/hiding.py": (
        "test_state_hiding", "test_state_questions", "test_rejects", "test_apply", "test_recovery",
    ),
    "segsync/sending.py": _SENDING,
    "segsync/judging.py": ("test_judging", "test_rejects", *_SENDING),
    "segsync/recovery.py": (
        "test_recovered_parts", "test_sending", "test_recovery", "test_late_executions",
        "test_rejects", "test_rekeying",
    ),
    "segsync/runs.py": (
        "test_runs", "test_judging", "test_apply", "test_state_file", "test_recovery",
        "test_rejects", "test_expiry", "test_cli",
    ),
    "segsync/reconcile.py": (
        "test_reconcile", "test_plan_ended", "test_planfile_reasons", "test_apply",
        "test_planfile", "test_recovery", "test_state_file",
        "test_late_executions", "test_state_migrations", "test_old_copies",
    ),
    "segsync/own_state.py": (
        "test_own_state", "test_apply", "test_state_file", "test_old_copies", "test_cli",
    ),
    "segsync/planning.py": (
        "test_planning", "test_plan_ended", "test_apply", "test_planfile", "test_rejects",
        "test_expiry", "test_state_file", "test_cli_guidance",
    ),
    "segsync/comparison.py": (
        "test_samples", "test_plan_ended", "test_recovered_parts", "test_apply", "test_rejects",
        "test_expiry", "test_planfile", "test_state_file", "test_late_executions",
    ),
    "segsync/sampling.py": (
        "test_samples", "test_compare", "test_apply", "test_render_plan", "test_cli",
    ),
    "segsync/uncompared.py": ("test_apply", "test_cli", "test_cli_guidance"),
    "segsync/lookups.py": ("test_lookups", "test_apply", "test_planfile"),
    "segsync/selection.py": ("test_apply", "test_cli"),
    "segsync/planfile.py": ("test_planfile_reasons", "test_planfile", "test_cli"),
    "segsync/plan.py": ("test_plan", "test_apply", "test_planfile", "test_render_plan"),
    "segsync/report.py": (
        "test_exits", "test_many_segments", "test_render_report", "test_rejects", "test_apply",
        "test_recovery",
    ),
    "segsync/exits.py": ("test_exits", "test_apply", "test_rejects", "test_cli"),
    "segsync/payload.py": ("test_payload", "test_apply"),
}  # fmt: skip


def files(module: str) -> list[str]:
    """The test files of a module."""
    return [f"tests/{name}.py" for name in dict.fromkeys(TESTS[module])]
