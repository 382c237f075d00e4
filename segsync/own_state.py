"""The state that a spec names: as it is, or made where there is none."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from segsync.model import Spec
from segsync.state import Identity, State, create, empty_state, is_there, open_state


@contextmanager
def reading_state(spec: Spec) -> Iterator[State]:
    """The state as it is, or an empty one where no apply has been yet."""
    if is_there(spec.state):
        with closing(open_state(spec.state, read_only=True)) as state:
            if not _is_left_over(state, spec):
                yield state
                return
    with empty_state(_new_identity(spec)) as state:
        yield state


@contextmanager
def writing_state(spec: Spec, lineage: str | None = None) -> Iterator[State]:
    """The state for an apply, made where there is none. The caller holds its lock."""
    if not is_there(spec.state):
        create(spec.state.resolve(), _new_identity(spec, lineage))
    with ExitStack() as stack:
        state = stack.enter_context(closing(open_state(spec.state, read_only=False)))
        if _is_left_over(state, spec):
            stack.close()
            spec.state.resolve().unlink()
            create(spec.state.resolve(), _new_identity(spec, lineage))
            state = stack.enter_context(closing(open_state(spec.state, read_only=False)))
        state.check_belongs(spec.destination.datamart_id, spec.destination.api_url)
        yield state


def _is_left_over(state: State, spec: Spec) -> bool:
    """Whether the state is of another datamart or API, and no run was ever journalled in it.

    An apply left it that could reach neither: who corrects the spec then has nothing to keep.
    """
    mine = (state.identity.datamart_id, state.identity.api_origin)
    if mine == (spec.destination.datamart_id, spec.destination.api_url):
        return False
    return not state.identity.serial and not state.last_runs(1)


def _new_identity(spec: Spec, lineage: str | None = None) -> Identity:
    """The identity of a state yet to be written; its digests are made at the first apply."""
    return Identity(
        lineage=lineage or secrets.token_hex(12),
        serial=0,
        datamart_id=spec.destination.datamart_id,
        api_origin=spec.destination.api_url,
        digest_probe=0,
    )
