"""The demo's shop: a SQLite file with customers and their orders, the same for the same seed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from random import Random

CUSTOMERS = range(700_001, 705_001)
SEED = 20
FIRST_DAY = date(2025, 1, 1)
DAYS = 630
SCHEMA = """
CREATE TABLE customers (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, town TEXT NOT NULL,
    newsletter INTEGER NOT NULL
);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, ordered_on TEXT NOT NULL,
    amount REAL NOT NULL
);
"""
FIRST_NAMES = (
    *("Ada", "Amir", "Anouk", "Bela", "Chloé", "Dario", "Elif", "Emil", "Fatou", "Gwen", "Hugo"),
    *("Ines", "Jonas", "Kofi", "Lea", "Malik", "Nora", "Olga", "Paul", "Rosa", "Sven", "Zoë"),
)
LAST_NAMES = (
    *("Abe", "Blanc", "Costa", "Dubois", "Eriksen", "Fischer", "García", "Haddad", "Ito"),
    *("Jansen", "Kowalski", "Leroy", "Moreau", "Novák", "O'Brien", "Petit", "Rossi", "Sow"),
)
TOWNS = ("Lyon", "Paris", "Lille", "Nantes", "Genève", "Bruxelles", "Milano", "Köln", "Porto")
Customer = tuple[int, str, str | None, str, int]
Order = tuple[int, str, float]


def lay_out_shop(path: Path) -> None:
    """Write the shop's file. There must be none yet."""
    random = Random(SEED)
    with closing(sqlite3.connect(path)) as shop, shop:
        shop.executescript(SCHEMA)
        shop.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?)", customers(random))
        shop.executemany(
            "INSERT INTO orders (customer_id, ordered_on, amount) VALUES (?, ?, ?)", orders(random)
        )


def change_shop(path: Path, statements: str) -> None:
    """Carry out SQL statements, as the shop's own programs would."""
    with closing(sqlite3.connect(path)) as shop:
        shop.executescript(statements)


def ask_shop(path: Path, query: str) -> set[str]:
    """The first column of a query, as texts."""
    with closing(sqlite3.connect(path)) as shop:
        return {str(value) for value, *_ in shop.execute(query)}


def customers(random: Random) -> Iterator[Customer]:
    """Customers, of whom some gave no e-mail address and some read the newsletter."""
    for number in CUSTOMERS:
        first, last = random.choice(FIRST_NAMES), random.choice(LAST_NAMES)
        email = f"{first}.{last}.{number}@example.com".replace("'", "")
        with_email = random.random() < 0.9
        reads = int(with_email and random.random() < 0.5)
        town = random.choice(TOWNS)
        yield number, f"{first} {last}", email if with_email else None, town, reads


def orders(random: Random) -> Iterator[Order]:
    """Many customers order little and a few a lot."""
    for customer in CUSTOMERS:
        for _ in range(int(random.paretovariate(1.2))):
            day = FIRST_DAY + timedelta(days=random.randrange(DAYS))
            yield customer, day.isoformat(), round(random.lognormvariate(3.9, 0.8), 2)
