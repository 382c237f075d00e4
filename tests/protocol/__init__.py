"""The protocol as a model small enough to try every schedule: no I/O, nothing of segsync's own.

What it has is what the design promises to survive: a clock and members that expire, rejects that
are tried again, several parts, removals that go before additions, one person with two identifiers,
uploads that act late, copies of the state that come back, runs known only by their reference.
"""
