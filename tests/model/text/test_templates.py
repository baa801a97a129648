import re

import pytest

from model.text.templates import MAX_RENDERED_CHARS, MAX_TEMPLATE_CHARS, ChatTemplate, TemplateError


def render(source: str, **variables: object) -> str:
    return ChatTemplate(source).render([{"role": "user", "content": "hi"}], **variables)


def refusal(source: str) -> str:
    with pytest.raises(TemplateError) as caught:
        render(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_blocks_leave_no_lines_of_their_own() -> None:
    assert render("a\n  {% if true %}\nb\n  {% endif %}\nc") == "a\nb\nc"


def test_tojson_writes_characters_as_they_are() -> None:
    assert render("{{ {'b': '<é>', 'a': 1} | tojson }}") == '{"b": "<é>", "a": 1}'
    assert render("{{ {'b': 1, 'a': 2} | tojson(indent=1, sort_keys=true) }}") == (
        '{\n "a": 2,\n "b": 1\n}'
    )


def test_today_is_there_for_templates_that_tell_the_date() -> None:
    assert re.fullmatch(r"\d{4}-\d\d", render("{{ strftime_now('%Y-%m') }}"))


def test_loops_can_break_and_generation_blocks_are_their_content() -> None:
    source = "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"

    assert render(source + "{% generation %}x{{ messages[0].content }}{% endgeneration %}") == (
        "01xhi"
    )


def test_absent_tokens_are_undefined() -> None:
    assert render("{{ bos_token }}{% if bos_token is defined %}x{% endif %}") == ""
    assert render("{{ bos_token }}", bos_token="<s>") == "<s>"


def test_a_template_refuses_in_its_own_words() -> None:
    assert refusal("{{ raise_exception('roles must\nalternate') }}") == "roles must alternate"


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0].nothing.more }}",
        "{{ messages[5].content }}",
        "{{ 1 / 0 }}",
        "{{ 'a' + 1 }}",
        "{{ {}['x'].y }}",
    ],
)
def test_a_failing_template_is_a_one_line_error(source: str) -> None:
    assert refusal(source)


@pytest.mark.parametrize("source", ["{% if %}", "{{ x", "{% for %}", "{% include 'x' %}{% end %}"])
def test_a_template_that_does_not_compile_says_so(source: str) -> None:
    with pytest.raises(TemplateError, match="does not compile"):
        ChatTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__func__ }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_templates_reach_neither_python_nor_files_nor_their_input(source: str) -> None:
    try:
        text = render(source)
    except TemplateError:
        return
    assert text == ""  # an unsafe attribute may also be undefined


def test_sizes_are_bounded() -> None:
    with pytest.raises(TemplateError, match="exceeds"):
        ChatTemplate("x" * (MAX_TEMPLATE_CHARS + 1))
    assert "exceeds" in refusal("{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}")
    assert "too often" in refusal(f"{{{{ 'x' * {MAX_RENDERED_CHARS + 1} }}}}")
    assert "too often" in refusal("{{ (10 ** 12) * [1] }}")
    assert "power" in refusal("{{ 9 ** (9 ** 9) }}")
    assert "Range too big" in refusal("{{ range(10**9) | length }}")


def test_arithmetic_that_templates_do_still_works() -> None:
    assert render("{{ 3 * 4 }}{{ 'ab' * 2 }}{{ 2 ** 10 }}{{ 'a' * -1 }}") == "12abab1024"
