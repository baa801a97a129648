r"""One spelling for LaTeX (and plain) mathematics that differs in looks only.

    \dfrac12 -> \frac{1}{2}    $\left( 1, 2 \right)$ -> (1,2)    x^{2} -> x^2    2\,\text{cm}. -> 2

Nothing is computed here: x+1 and 1+x stay different (`math` knows better). Braces that do not
match are mended, so any text has a normal form; it may be empty. For texts of a few hundred
characters: not every step here is linear.
"""

import re

from routing.answers.lines import plain
from routing.answers.number import whole_number
from routing.answers.numerals import canonical

_UNICODE = {
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "√": r"\sqrt ", "π": r"\pi ",
    "∞": r"\infty ", "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "∈": r"\in ", "∪": r"\cup ",
    "∩": r"\cap ", "∅": r"\emptyset ", "±": r"\pm ", "°": r"^\circ ", "θ": r"\theta ",
    "ℝ": r"\mathbb{R}", "–": "-", "²": "^2", "³": "^3",
}  # fmt: skip
_SYNONYMS = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\le": r"\leq",
    r"\ge": r"\geq", r"\ne": r"\neq", r"\leqslant": r"\leq", r"\geqslant": r"\geq",
    r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lvert": "|", r"\rvert": "|", r"\vert": "|",
    r"\varnothing": r"\emptyset", r"\land": r"\wedge", r"\lor": r"\vee", r"\degree": r"^\circ",
    r"\lparen": "(", r"\rparen": ")", r"\times": r"\cdot", "**": "^", "*": r"\cdot",
}  # fmt: skip
# Looks only: spaces, sizes of brackets, styles, delimiters of mathematics.
_LOOKS = """
, ; : ! ( ) [ ] $ left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr quad qquad
displaystyle textstyle scriptstyle limits boxed fbox text textbf textit textrm mbox mathrm mathbf
mathit mathsf operatorname hspace hfill phantom space
"""
_DROPPED = frozenset(f"\\{name}" for name in _LOOKS.split()) | {"\\", "\\ ", "\\\n", "$", "~", "`"}
# Plain names as commands: sqrt(2), 2pi.
_PLAIN_ROOT = re.compile(r"(?<![\\A-Za-z])sqrt\s*\(([^()]{1,100})\)")
_PLAIN_NAME = re.compile(r"(?<![\\A-Za-z])(pi|sqrt|sin|cos|tan|log|ln|infty)(?![A-Za-z])")
# A unit: \text{ cm}^2 at the end, or a word behind a number.
_UNIT = re.compile(r"\\(?:text|mathrm|mbox|textrm)\s*\{[^{}\\]*\}(?:\^\{?[23]\}?)?[\s.$]*$")
_UNIT_WORD = re.compile(r"(.*[0-9}]) [A-Za-z]{2,20}")
_SCALE = re.compile(r"(?i)thousand|[mbtr]illion|hundred|dozen")
_MIXED = re.compile(r"(-?)([0-9]{1,30})(\\frac\{[0-9]{1,30}\}\{[0-9]{1,30}\})")
_WORDS = re.compile(r"(?:[A-Za-z]+ )*[A-Za-z]{3,}(?: [A-Za-z]+)*")
_DEGREES = re.compile(r"\^\{?\\circ\}?")
_LEFT_SIDE = re.compile(r"(?:[A-Za-z]|f\(x\)|y\(x\))=")
_PIECE = re.compile(r"\\[A-Za-z]+\s*|\\.|\s+|\*\*|[0-9]+(?:\.[0-9]+)?|[A-Za-z]+|.", re.DOTALL)
_TRAILING = ".,;:? \\"
_MAX_DEPTH = 50
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[^,]*")
_INLINE = re.compile(
    r"\$\$(?P<display>[^$]{1,400})\$\$|\$(?P<dollar>[^$\s](?:[^$]{0,400}[^$\s])?)\$(?![0-9])"
    r"|\\\((?P<round>.{1,400}?)\\\)|\\\[(?P<square>.{1,400}?)\\\]"
)


def mathematics_in(line: str) -> tuple[int, int]:
    r"""Where the one formula of a line is, `$x$` in "so $x$ it is"; else the whole line."""
    found = list(_INLINE.finditer(line))
    if len(found) != 1 or found[0].lastgroup is None:
        return 0, len(line)
    return found[0].span(found[0].lastgroup)


def normal_form(text: str) -> str:
    """The text under one spelling; a number in the canonical form of `number`. May be empty."""
    whole = "".join(_UNICODE.get(char, char) for char in plain(text)).replace("{,}", ",")
    whole = _PLAIN_NAME.sub(r"\\\1 ", _PLAIN_ROOT.sub(r"\\sqrt{\1}", whole))
    for candidate in (_UNIT.sub(_without_unit, whole), whole):
        spelled = _respelled(candidate)
        number = as_number(spelled)
        if number is None and not _SCALE.search(spelled):
            with_unit = _UNIT_WORD.fullmatch(spelled)
            number = with_unit and as_number(with_unit[1])
        if number is not None:
            return number
    return spelled.casefold() if _WORDS.fullmatch(spelled) else spelled


def _without_unit(match: re.Match[str]) -> str:
    return match[0] if _SCALE.search(match[0]) else ""


def as_number(spelled: str) -> str | None:
    """The canonical number that a normal form is, "x=" and a percent sign left aside."""
    bare = _without_left_side(spelled)
    bare = bare.removesuffix(r"\%").removesuffix("%").removeprefix(r"\$")
    # "1,2" are two numbers here, where `number` would read a decimal comma.
    if not bare or _PLAIN_NUMBER.fullmatch(bare) is None:
        return None
    mixed = _MIXED.fullmatch(bare)
    if mixed is not None:
        part = whole_number(mixed[3])
        return None if part is None else canonical(int(f"{mixed[1]}1") * (int(mixed[2]) + part))
    value = whole_number(bare)
    return None if value is None else canonical(value)


def _respelled(text: str) -> str:
    rendered = _rendered(_tree(_pieces(_DEGREES.sub("", text))))
    joined = _joined(rendered).strip().rstrip(_TRAILING)
    return _without_left_side(joined)


def _without_left_side(spelled: str) -> str:
    """ "x=3" is 3; "x=y=3" and "x=1,y=2" stay."""
    left = _LEFT_SIDE.match(spelled)
    if left is None or spelled.count("=") > 1:
        return spelled
    return spelled[left.end() :] or spelled


def _pieces(text: str) -> list[str]:
    """Commands, words, numbers, single characters, " "; without what is looks only."""
    pieces = []
    for match in _PIECE.finditer(text):
        piece = match[0].rstrip() if match[0][1:2].isalpha() else match[0]
        piece = _SYNONYMS.get(piece, piece)
        if piece not in _DROPPED:
            pieces.append(" " if piece.isspace() else piece)
    return pieces


_Tree = list["str | _Tree"]


def _tree(pieces: list[str]) -> _Tree:
    """Braces as nested lists; one too many or too deep is left out, a missing one added."""
    root: _Tree = []
    open_groups = [root]
    for piece in pieces:
        if piece == "{":
            if len(open_groups) <= _MAX_DEPTH:
                group: _Tree = []
                open_groups[-1].append(group)
                open_groups.append(group)
        elif piece == "}":
            if len(open_groups) > 1:
                open_groups.pop()
        else:
            open_groups[-1].append(piece)
    return root


def _rendered(tree: _Tree) -> list[str]:
    r"""Back to pieces: \frac12 as \frac{1}{2}, \sqrt2 as \sqrt{2}, x^{2} as x^2, {x} as x."""
    begin, end = 0, len(tree)
    while begin < end and tree[begin] == " ":
        begin += 1
    while begin < end and tree[end - 1] == " ":
        end -= 1
    rest = tree[begin:end][::-1]
    out: list[str] = []
    while rest:
        node = rest.pop()
        before = out[-1] if out else ""
        if isinstance(node, list):
            inside = _rendered(node)
            bare = len(inside) == 1 and (len(inside[0]) == 1 or inside[0].startswith("\\"))
            braced = before[1:2].isalpha() and before.startswith("\\")
            braced = braced or before == "]" or (before in ("^", "_") and not bare)
            out += ["{", *inside, "}"] if braced else inside
            continue
        if node == " " and before in ("^", "_"):
            continue
        out.append(node)
        rooted = node == r"\sqrt" and (not rest or rest[-1] not in ("[", "("))
        for _ in range(2 if node == r"\frac" else int(rooted)):
            out += ["{", *_argument(rest), "}"]
    return out


def _argument(rest: _Tree) -> list[str]:
    """What a command takes next: a group, a command, or one digit or letter of a longer run."""
    while rest and rest[-1] == " ":
        rest.pop()
    if not rest:
        return []
    node = rest.pop()
    if isinstance(node, list):
        return _rendered(node)
    if node.startswith("\\") or len(node) == 1:
        return [node]
    rest.append(node[1:])
    return [node[0]]


def _joined(pieces: list[str]) -> str:
    """Without spaces, but around words, between numbers, and after a command before a letter."""
    out, before, spaced = "", "", False
    for piece in pieces:
        if piece == " ":
            spaced = True
            continue
        word = any(side.isalpha() and len(side) > 1 for side in (before, piece))
        numbers = before[-1:].isdigit() and piece[:1].isdigit()
        between = before[-1:].isalnum() and piece[:1].isalnum() and (word or numbers)
        command = before[1:2].isalpha() and before.startswith("\\") and piece[:1].isalpha()
        out += f" {piece}" if command or (spaced and between) else piece
        before, spaced = piece, False
    return out
