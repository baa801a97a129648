"""HTML and SVG as strings in which everything that is not markup is escaped."""

import html


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def element(name: str, *children: str | Markup, **attributes: str | float | int | None) -> Markup:
    """<name attributes>children</name>. Plain strings are escaped; None leaves an attribute out.

    A trailing underscore of an attribute's name is dropped, others become hyphens.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str | Markup) -> Markup:
    return Markup(
        "".join(
            child if isinstance(child, Markup) else html.escape(child, quote=False)
            for child in children
        )
    )


def table(head: list[str], rows: list[list[str | Markup]], caption: str | None = None) -> Markup:
    """A first column of names, then columns of values."""
    title = [] if caption is None else [element("caption", caption)]
    return element(
        "div",
        element(
            "table",
            *title,
            element("thead", element("tr", *(element("th", cell, scope="col") for cell in head))),
            element("tbody", *(_row(row) for row in rows)),
        ),
        class_="scroll",
    )


def _row(row: list[str | Markup]) -> Markup:
    first, *others = row
    return element(
        "tr", element("th", first, scope="row"), *(element("td", cell) for cell in others)
    )


def _value(value: str | float) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
