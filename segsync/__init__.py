"""Keeps the segments of a mediarithmics datamart equal to the results of SQL queries."""

__version__ = "0.1.0"
