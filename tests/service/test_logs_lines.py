"""No client writes a line of the log, or a part of one that looks like the server's."""

import json
import logging
import re
import sys
import threading
import warnings
from datetime import datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.commands.checkpoint import _quiet_jax
from service.logs.formats import JsonFormatter, TextFormatter
from service.logs.lines import one_line, quoted, trace_of
from service.logs.record import Record, current_record
from service.logs.seldom import Seldom
from service.logs.setup import tell
from tests.service.log_support import written
from tests.service.support import eventually, running, settings_of

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
FORGED = "x\n2026-01-01T00:00:00.000Z INFO pollux.access: GET /admin 200 key_name=root"


def record(message: str, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("pollux", logging.INFO, "", 0, "%s", (message,), None)
    made.facts = facts
    return made


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_is_one_line_of_json_and_comes_back_whole(message: str, value: str) -> None:
    line = JsonFormatter().format(record(message, path=value))
    assert line.isascii()
    assert line.isprintable()
    entry = json.loads(line)
    assert (entry["message"], entry["path"]) == (message, value)


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_is_one_line_of_text(message: str, value: str) -> None:
    line = TextFormatter().format(record(message, key_name=value, answer=[value, value]))
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    line.encode()


@given(ANY_TEXT)
def test_a_quoted_text_is_one_word_or_a_json_string_of_it(text: str) -> None:
    shown = quoted(text)
    if shown != text:
        assert json.loads(shown) == text
    else:
        assert not set(' "=\\') & set(shown)
        assert shown.isprintable()


@pytest.mark.parametrize(
    "bad", ["\n", "\r", "\x1b[2J", "\x00", "\x85", "\u2028", "\u202e", "\ud800", "\x7f"]
)
def test_what_ends_lines_or_moves_cursors_is_escaped(bad: str) -> None:
    assert one_line(f"a{bad}b").isprintable()
    assert one_line("naïve 日本") == "naïve 日本"


@pytest.mark.parametrize("form", ["text", "json"])
async def test_a_path_and_a_request_id_forge_no_lines(form: str) -> None:
    path = (
        "/v1/%0A2026-01-01T00:00:00.000Z%20INFO%20pollux.access:%20GET%20/admin%20200%E2%80%A8%85"
    )
    with written(log_format=form) as log:
        async with running(lambda g, p: "x") as server, httpx.AsyncClient() as http:
            await http.get(server.url + path, headers={"x-request-id": "a b=c"})
            await eventually(lambda: "pollux.access" in log.text())
        lines = [line for line in log.lines() if "pollux.access" in line]
    assert len(lines) == 1
    assert "a b=c" not in lines[0]
    if form == "json":
        assert json.loads(lines[0])["path"].startswith("/v1/\n2026")
    else:
        assert 'GET "/v1/\\n2026' in lines[0]


def test_times_are_rfc_3339_in_utc() -> None:
    made = record("x")
    made.created = 1_700_000_000.25
    assert json.loads(JsonFormatter().format(made))["time"] == "2023-11-14T22:13:20.250Z"
    stamp = TextFormatter().format(made).partition(" ")[0]
    assert datetime.fromisoformat(stamp).timestamp() == made.created


def _failed(message: str) -> BaseException:
    try:
        try:
            raise KeyError(message)
        except KeyError as error:
            raise ExceptionGroup("several", [ValueError(message)]) from error
    except ExceptionGroup as error:
        return error


def test_a_traceback_names_causes_and_places_and_no_words_of_a_client() -> None:
    error = _failed(FORGED)
    bare, full = trace_of(error, messages=False), trace_of(error, messages=True)
    for name in ("KeyError", "ValueError", "ExceptionGroup", "in _failed"):
        assert name in bare
    assert "/admin" not in bare
    assert "/admin" in full
    assert bare.index("KeyError") < bare.rindex("ExceptionGroup")


def test_an_error_that_leads_to_itself_has_a_traceback_all_the_same() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert trace_of(one, messages=True) == "ValueError: other\nValueError: one"


@pytest.mark.parametrize("form", [JsonFormatter, TextFormatter])
@pytest.mark.parametrize("serving", [False, True])
@pytest.mark.parametrize("shown", [False, True])
def test_an_exception_is_one_line_and_quotes_requests_only_if_told_to(form, serving, shown) -> None:
    made = record("it failed")
    error = ValueError(FORGED)
    made.exc_info = (ValueError, error, None)
    token = current_record.set(Record(request_id="r") if serving else None)
    try:
        line = form(show_messages=shown).format(made)
    finally:
        current_record.reset(token)
    assert line.isprintable()
    assert "exception" in line
    assert ("/admin" in line) is (shown or not serving)
    assert ("request_id" in line) is serving


def test_arguments_that_do_not_fit_a_message_lose_no_line() -> None:
    made = logging.LogRecord("other", logging.INFO, "", 0, "%d of %d", ("x",), None)
    assert json.loads(JsonFormatter().format(made))["message"] == "%d of %d"


def test_warnings_other_loggers_and_threads_that_end_badly_are_lines_too() -> None:
    with written() as log:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(False)
            logging.captureWarnings(True)
            warnings.warn("old\nhat", DeprecationWarning, stacklevel=1)
        logging.getLogger("some.library").warning("beware")
        logging.getLogger("some.library").info("unheard")
        logging.getLogger("model.kernels.library").info("heard")

        def fail() -> None:
            raise RuntimeError("the device is gone")

        hook = threading.excepthook
        thread = threading.Thread(target=fail, name="engine")
        assert hook.__module__ == "service.logs.setup"
        thread.start()
        thread.join()
        sys.excepthook(OSError, OSError("no disk"), None)
        entries = log.entries()
    assert [entry["logger"] for entry in entries] == [
        *("py.warnings", "some.library", "model.kernels.library"),
        *("pollux", "pollux"),
    ]
    assert "thread engine" in entries[3]["message"]
    assert entries[3]["exception"].endswith("RuntimeError: the device is gone")
    assert (entries[4]["level"], entries[4]["exception"]) == ("critical", "OSError: no disk")


def test_lines_of_commands_are_entries_whatever_the_level_and_bare_as_text() -> None:
    with written(log_level="error") as log:
        assert tell("  loading weights 50%")
        [entry] = log.entries()
    assert (entry["message"], entry["level"]) == ("loading weights 50%", "info")
    with written(log_format="text") as log:
        assert not tell("  loading weights 50%")
        assert log.text() == ""


async def test_what_comes_often_is_told_at_once_and_then_counted() -> None:
    with written() as log:
        seldom = Seldom(logging.getLogger("pollux.connections"), every_s=0.01)
        for number in range(5):
            seldom.tell("cut", client=str(number))
        assert [entry["message"] for entry in log.entries()] == ["cut"]
        await eventually(lambda: len(log.entries()) == 2)
        assert log.entries()[1]["message"] == "cut: 4 more"
        assert log.entries()[1]["count"] == 4


def test_jax_does_not_report_the_devices_that_are_not_there() -> None:
    jax = logging.getLogger("jax")
    before = jax.level
    try:
        jax.setLevel(logging.INFO)
        _quiet_jax(settings_of(log_level="info"))
        assert not logging.getLogger("jax._src.xla_bridge").isEnabledFor(logging.INFO)
        jax.setLevel(logging.INFO)
        _quiet_jax(settings_of(log_level="debug"))
        assert logging.getLogger("jax._src.xla_bridge").isEnabledFor(logging.INFO)
    finally:
        jax.setLevel(before)


def test_every_line_of_text_begins_with_time_level_and_logger() -> None:
    line = TextFormatter().format(record("hello", count=3, share=0.5, none=None))
    assert re.fullmatch(r"\S+Z INFO pollux: hello count=3 share=0\.5 none=null", line)
