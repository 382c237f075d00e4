"""Mutation testing: the product is broken in one place after the other, and the tests must see it.

`python -m tests.mutation` works on a private copy of the tree. See __main__.py for its options.
"""
