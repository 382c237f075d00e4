"""Fixtures that several test modules share."""

pytest_plugins = ["tests.support.servers", "tests.support.sources"]
