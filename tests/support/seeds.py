"""Right specs of every kind, which together use every key: what is mutated begins as one."""

from __future__ import annotations

from segsync.demo.folder import SPEC_TEXT
from tests.support.readme import yaml_file
from tests.support.specs import (
    EVERY_DEFAULT,
    EXAMPLE,
    FULL,
    HEAD,
    ONE,
    SpecFolder,
    with_destination,
    with_segment,
)

FILES = {
    "q.sql": "SELECT :p",
    "sql/plain.sql": "SELECT 1 -- the end\n",
    "more/b.yaml": "segments: {b: {query: SELECT 1}}",
    "segments/more.yaml": "segments:\n  more: {query: SELECT 1}\nremoved: {older: keep}\n",
    "certificates/company.pem": "-",
}
"""What stands beside the specs."""


def _example() -> str:
    """The example with its commented lines as well."""
    text = EXAMPLE.read_text()
    for key in ("api_url", "format", "ca_file", "proxy", "execution_max_age"):
        text = text.replace(f"  # {key}:", f"  {key}:")
    return text.replace("# include:", "include:")


DEFAULTS = (
    EVERY_DEFAULT
    + """\
segments:
  shared: {query: SELECT 1}
  own: {query: SELECT 1, compartment_id: null, expiration: never, hash_email: null}
"""
)
SEEDS = [
    EXAMPLE.read_text(),
    _example(),
    yaml_file("segments.yaml"),
    SPEC_TEXT.format(datamart=1509, url="http://127.0.0.1:8080", shop="shop.db"),
    FULL,
    ONE,
    HEAD + DEFAULTS,
    HEAD + "segments: {}\n",
    HEAD + "removed: {old: delete, 'segment_id 88123': keep}\n",
    "\ufeff" + ONE.replace("\n", "\r\n"),
    ONE + "include: ['**/*.yaml']\n",
    ONE + "include: [segments/*.yaml, more/b.yaml]\n",
    ONE + "state: '${DIR:-/var/lib}/state.db'\n",
    ONE.replace("${WAREHOUSE_URL}", "sqlite:///shop.db"),
    ONE.replace("${WAREHOUSE_URL}", "postgresql+psycopg://u:${X}@[::1]:5432/db?sslmode=require"),
    HEAD + "segments: {a: {query_file: q.sql, params: {p: '${X:-1}'}}}\n",
    HEAD + "segments:\n  a:\n    query_file: sql/plain.sql\n    expiration: 90m\n",
    with_destination("format: csv\nca_file: certificates/company.pem\nexecution_max_age: 6h"),
    with_destination("proxy: http://me:${X}@proxy.example:3128"),
    with_destination("api_url: http://api.example\ninsecure_http: true"),
    with_destination("api_url: https://${API:-api.example}:8443/prefix/"),
    with_segment("segment_id: 88123\nquery: SELECT 1\nguard: {max_removed: 12.5%}"),
    with_segment("query: SELECT :a, :b, :c\nparams: {a: 1.5, b: true, c: null}"),
    with_segment("query: |\n  SELECT '12:30', x::text, $q$ :b $q$, :a\nparams: {a: 'é \\ ::'}"),
    with_segment("query: SELECT 1\ndata_bag: [x, y, 'a b']\ncompartment_id: 1000"),
    with_segment("query: SELECT 1\nhash_email: md5\non_conflict: latest_expiry"),
    with_segment("query: SELECT 1\nexpiration: never\nreassert: 12h\nrenew_at: 95%"),
    with_segment('query: "SELECT \\u00e9 \\x41"\ndescription: |\n  Some\n  people'),
    with_segment("query: >-\n  SELECT\n  1\nguard: {allow_empty: true, max_members: null}"),
    "{version: 1, destination: {datamart_id: 1, api_token: '${MICS_API_TOKEN}'},"
    " sources: {w: '${WAREHOUSE_URL}'}, segments: {a: {query: SELECT 1}, b: {query: SELECT 2}}}",
]


def lay_out(folder: SpecFolder) -> None:
    """Write what stands beside the specs."""
    for name, content in FILES.items():
        folder.write(name, content)
