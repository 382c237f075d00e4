"""Secrets: where they may stand, what they must be like, and that no message shows one."""

from __future__ import annotations

import pickle

import pytest

from segsync.errors import SpecError
from segsync.secret import Secret
from tests.support.canary import SPEC_PASSWORD
from tests.support.canary import TYPED as CANARY
from tests.support.specs import (
    ENVIRON,
    HEAD,
    ONE,
    QUERY,
    SpecFolder,
    with_destination,
    with_segment,
)

TOKEN = '"${MICS_API_TOKEN}"'


@pytest.mark.parametrize(
    "written",
    [
        CANARY,
        f'"{CANARY}"',
        f"${{MICS_API_TOKEN:-{CANARY}}}",
        f"x{CANARY}${{MICS_API_TOKEN}}",
        f"${{MICS_API_TOKEN}}{CANARY}",
        f"$${{{CANARY}}}",
        "${MICS_API_TOKEN}${MICS_API_TOKEN}",
        f"|\n    {CANARY}",
    ],
)
def test_a_token_in_the_file_is_an_error_that_does_not_repeat_it(
    folder: SpecFolder, written: str
) -> None:
    text = HEAD.replace("destination: {", "destination:\n  ").replace('"1509", ', '"1509"\n  ')
    text = text.replace(TOKEN + "}", written if "|" in written else f"{written}")
    problem = str(folder.problems(text + "segments: {}\n")[0])
    assert "4:14: the API token must come from the environment" in problem
    assert "write api_token: ${MICS_API_TOKEN}" in problem
    assert CANARY not in "".join(map(str, folder.problems()))


@pytest.mark.parametrize("written", ["12345678901", "0123456789", "[12345678901]", "true", "~"])
def test_a_token_of_another_type_is_not_quoted(folder: SpecFolder, written: str) -> None:
    problems = folder.problems(ONE.replace(TOKEN, written))
    assert problems
    assert "123456789" not in "".join(map(str, problems))


@pytest.mark.parametrize("blank", ["", "\n", " ", "\r\n", "\t"])
def test_a_token_is_stripped(folder: SpecFolder, blank: str) -> None:
    environ = ENVIRON | {"MICS_API_TOKEN": f"{blank}tok!~{blank}"}
    assert folder.load(ONE, environ).destination.api_token == Secret("tok!~")


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("", "the API token is empty: the variable MICS_API_TOKEN"),
        (" \n", "the API token is empty: the variable MICS_API_TOKEN"),
        (f"{CANARY} x", "character 14 of the API token is a space, a control character or not"),
        (f"{CANARY}\nx", "character 14 of the API token"),
        (f"“{CANARY}”", "character 1 of the API token"),
        (f"{CANARY}é", "character 14 of the API token"),
        (f"{CANARY}\x7f", "character 14 of the API token"),
        (CANARY * 800, "the API token is larger than 10 KB"),
        (CANARY + "\udcff", "MICS_API_TOKEN is not UTF-8 text"),
        (CANARY + "\0", "MICS_API_TOKEN is not UTF-8 text"),
    ],
)
def test_a_token_that_no_header_can_carry_is_refused_unshown(
    folder: SpecFolder, token: str, expected: str
) -> None:
    problem = folder.problem(ONE, ENVIRON | {"MICS_API_TOKEN": token})
    assert expected in problem
    assert "MICS_API_TOKEN" in problem
    assert CANARY not in problem


def test_a_missing_token_names_its_variable(folder: SpecFolder) -> None:
    problem = folder.problem(ONE, {"WAREHOUSE_URL": "sqlite://"})
    assert "2:47: the environment variable MICS_API_TOKEN is not set" in problem


LITERAL = [
    f"postgresql://u:{CANARY}@h/db",
    f"postgresql+psycopg://u:{CANARY}@h:5432/db?x=1",
    f"postgresql://u:${{P}}{CANARY}@h/db",
    f"postgresql://u:${{P:-{CANARY}}}@h/db",
    f"${{NO_URL:-postgresql://u:{CANARY}@h/db}}",
    f"postgresql://h/db?password={CANARY}",
    f"snowflake://u@a/db?warehouse=w&token={CANARY}",
    f"databricks://h?access_token={CANARY}",
    f"bigquery://p?credentials_base64={CANARY}",
    f"mssql://h/db?PWD={CANARY}",
]


@pytest.mark.parametrize("url", LITERAL)
def test_a_password_in_a_source_url_is_an_error_that_does_not_repeat_it(
    folder: SpecFolder, url: str
) -> None:
    text = ONE.replace("${WAREHOUSE_URL}", url)
    problem = folder.problem(text, ENVIRON | {"P": "p"})
    assert problem.startswith("segments.yaml:3:22: there is a")
    assert "put it in the environment" in problem
    assert CANARY not in problem


def test_a_password_in_the_proxy_is_an_error_too(folder: SpecFolder) -> None:
    problem = folder.problem(with_destination(f"proxy: http://u:{CANARY}@h:1"))
    assert "5:10: there is a password in this URL" in problem
    assert CANARY not in problem


@pytest.mark.parametrize(
    "url",
    [
        f"{CANARY}",
        f"postgres://u:{CANARY}@h/db",
        f"jdbc:postgresql://u:{CANARY}@h/db",
        f"postgresql://u:{CANARY} x@h/db",
        f"postgresql://u@h:{CANARY}/db",
        f"postgresql:/{CANARY}",
    ],
)
def test_a_wrong_url_from_the_environment_is_not_shown(folder: SpecFolder, url: str) -> None:
    assert CANARY not in folder.problem(ONE, ENVIRON | {"WAREHOUSE_URL": url})
    problem = folder.problem(with_destination("proxy: ${PROXY}"), ENVIRON | {"PROXY": url})
    assert CANARY not in problem


@pytest.mark.parametrize(
    "text",
    [
        ONE.replace('"1509"', '"${X}"'),
        ONE + "state: ~${X}\n",
        ONE + "state: ${X}\n",
        with_destination("format: ${X}"),
        with_destination("api_url: ${X}"),
        with_destination("ca_file: ${X}"),
        with_destination("insecure_http: ${X}"),
        with_destination("execution_max_age: ${X}"),
        with_destination("proxy: ${X}"),
        with_segment("query: SELECT :p\nparams: {q: '${X}'}"),
        with_segment("query: SELECT 1\nparams: '${X}'"),
    ],
)
def test_no_value_of_the_environment_is_ever_shown(folder: SpecFolder, text: str) -> None:
    """A wrong variable in a place that quotes its value would print a secret."""
    for value in (f"/ {CANARY}\x1b/", f"https://{CANARY}:x@h/"):
        problems = folder.problems(text, ENVIRON | {"X": value})
        assert CANARY not in "".join(map(str, problems))


@pytest.mark.parametrize(
    "text",
    [
        f"sources: {{w: *{CANARY}}}\n",
        f"sources: {{w: &{CANARY} x}}\n",
        f"sources: {{w: !{CANARY} x}}\n",
        f"sources: {{w: !{CANARY}!x y}}\n",
        f'sources: {{w: "\\{CANARY}"}}\n',
        f"sources: {{w: '{CANARY}\n",
        f"sources: {{postgresql://u:{CANARY}@h/d: x}}\n",
        f"sources: postgresql://u:{CANARY}@h/d\n",
        f"sources: [postgresql://u:{CANARY}@h/d]\n",
        f"sources:\n  w: postgresql://u:{CANARY}@h/d\n  w: postgresql://u:{CANARY}@h/d\n",
        f"sources:\n  postgresql://u:{CANARY}@h/d: 1\n  postgresql://u:{CANARY}@h/d: 2\n",
        f"sources:\n  w: @{CANARY}\n",
        f"sources:\n  w: {CANARY}: x\n",
        f"destination: {CANARY}\n",
        f"destination: {{api_token: [{CANARY}]}}\n",
        f"destination: {{api_token: {{{CANARY}: {CANARY}}}}}\n",
    ],
)
def test_broken_yaml_around_a_secret_does_not_show_it(folder: SpecFolder, text: str) -> None:
    assert CANARY not in "".join(map(str, folder.problems("version: 1\n" + text)))


def test_the_loaded_spec_hides_its_secrets_and_knows_them(folder: SpecFolder) -> None:
    spec = folder.load(with_destination("proxy: http://u:${P}@h:1"), ENVIRON | {"P": CANARY})
    for shown in (repr(spec), str(spec), f"{spec}"):
        assert "canary" not in shown.lower()
    assert set(spec.secrets) == {
        ENVIRON["MICS_API_TOKEN"],
        ENVIRON["WAREHOUSE_URL"],
        f"http://u:{CANARY}@h:1",
        CANARY,
        SPEC_PASSWORD,
    }
    with pytest.raises(TypeError):
        pickle.dumps(spec)


def test_no_traceback_of_an_error_holds_a_secret(folder: SpecFolder) -> None:
    """pydantic's errors quote their input: they must not hang on ours as a cause."""
    folder.write("segments.yaml", ONE.replace("{datamart_id", "{format: x, datamart_id"))
    with pytest.raises(SpecError) as caught:
        folder.load()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_query_may_hold_what_looks_like_a_reference(folder: SpecFolder) -> None:
    assert folder.segment(f"{QUERY}||'${{{CANARY}}}'").query == f"SELECT 1||'${{{CANARY}}}'"


@pytest.mark.parametrize("key", ["compartment_id", "expiration", "query_file"])
def test_a_url_that_slipped_to_another_key_does_not_show_its_password(
    folder: SpecFolder, key: str
) -> None:
    lines = [f"{key}: 'postgresql://u:Xk7/Qz9@host/db'"]
    lines += [] if key == "query_file" else [QUERY]
    assert "Qz9" not in folder.problem(with_segment("\n".join(lines)))
