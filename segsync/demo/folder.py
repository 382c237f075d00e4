"""The folder that the demo lays out, and leaves behind to go on in."""

from __future__ import annotations

import shutil
from pathlib import Path

from segsync.demo.shop import lay_out_shop
from segsync.errors import UsageError

MARK = ".segsync-demo"
SPEC, SHOP, PLATFORM, README = "segments.yaml", "shop.db", "platform.db", "README.md"
PLATFORM_FILES = "platform.db.files"
STATE_FOLDER = ".segsync"
TOKEN = "emulator-token"
DATAMART = "1509"
SPEC_TEXT = """\
version: 1

destination:
  datamart_id: "{datamart}"
  api_token: ${{MICS_API_TOKEN}}
  api_url: {url}

sources:
  shop: sqlite:///{shop}

defaults:
  expiration: 30d

segments:
  big_spenders:
    description: Spent 300 or more since January 2026
    query: |
      SELECT customer_id AS user_account_id,
             count(*) AS orders, round(sum(amount), 2) AS spent
      FROM orders WHERE ordered_on >= :since
      GROUP BY customer_id HAVING sum(amount) >= :least
    params: {{since: "2026-01-01", least: 300}}
    data_bag: [orders, spent]

  newsletter_readers:
    description: Members by e-mail hash; they never expire
    query: SELECT email FROM customers WHERE newsletter = 1
    hash_email: sha256
    expiration: never
"""
README_TEXT = """\
# A segsync demo

`shop.db` is the source, `segments.yaml` the spec, `.segsync/state.db` the state and `platform.db`
the data of a local mediarithmics. Start that in one terminal, in this folder:

    segsync emulator --port {port} --data {platform}

and go on in another: `export MICS_API_TOKEN={token}`, change a query or the
shop (`sqlite3 shop.db`), then `segsync plan`, `segsync apply`, `segsync status`.
The platform's clock is {days} days ahead; so that segsync's is too, add
`--now "$(date -u -d '+{days} days' +%FT%TZ)"` to them.
"""


def prepare_folder(folder: Path) -> bool:
    """Make the folder, or empty it of an earlier demo; whether there was one.

    Raises UsageError for a foreign folder.
    """
    again = (folder / MARK).is_file()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / MARK).is_file():
            raise UsageError(
                f"the folder {folder} is not empty, and no demo made it",
                hint="name another one: segsync demo DIR",
            )
        (folder / MARK).touch()
        for name in (SPEC, SHOP, PLATFORM, README):
            (folder / name).unlink(missing_ok=True)
        for name in (PLATFORM_FILES, STATE_FOLDER):
            shutil.rmtree(folder / name, ignore_errors=True)
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be used: {error.strerror}", hint="name another one"
        ) from None
    return again


def lay_out(folder: Path, url: str, days_ahead: int) -> None:
    """Put the spec, the shop and a README for later into the folder."""
    lay_out_shop(folder / SHOP)
    spec = SPEC_TEXT.format(datamart=DATAMART, url=url, shop=SHOP)
    (folder / SPEC).write_text(spec, encoding="utf-8")
    readme = README_TEXT.format(
        port=url.rpartition(":")[2], platform=PLATFORM, token=TOKEN, days=days_ahead
    )
    (folder / README).write_text(readme, encoding="utf-8")
