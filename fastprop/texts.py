"""Text for people: ASCII for terminals and logs of any encoding, and HTML for notebooks."""

import html
import sys
import warnings
from collections.abc import Sequence

SYMBOLS = str.maketrans(
    {"‖": "|", "→": "->", "…": "...", "Ŷ": "Y_hat", "×": "x", "±": "+-", "–": "-", "−": "-", "µ": "u", "²": "^2"}
)
STYLE = "text-align: {}; padding: 0 0.6em"


def plain(text: str) -> str:
    """Return a text in ASCII: symbols as they are usually typed, other characters as escapes such as ``\\xe9``."""
    return text.translate(SYMBOLS).encode("ascii", "backslashreplace").decode("ascii")


def printable(text: str) -> str:
    """Return a text as the standard output can encode it: unchanged if possible, otherwise in ASCII."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return plain(text)
    return text


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, with its first column aligned left and the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]).rstrip()
        for row in rows
    ]


def warn(text: str, category: type[Warning] = RuntimeWarning, stacklevel: int = 1) -> None:
    """Issue a warning; if the error stream is closed or cannot encode the text, the warning is lost without an error.

    :func:`warnings.warn` itself ignores only a stream that is None and errors of its system calls.
    """
    try:
        warnings.warn(text, category, stacklevel=stacklevel + 1)
    except Warning:  # a filter makes errors of warnings
        raise
    except Exception:  # the stream's
        return


def html_text(text: str, tag: str = "p") -> str:
    """Return a text as an HTML element, in ASCII with character references."""
    return f"<{tag}>{_escaped(text)}</{tag}>"


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table as HTML, its first row as the head, with its first column aligned left and the others right."""
    lines = []
    for i, row in enumerate(rows):
        tag = "td" if i else "th"
        cells = (
            f'<{tag} style="{STYLE.format("right" if column else "left")}">{_escaped(cell)}</{tag}>'
            for column, cell in enumerate(row)
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head, *body = lines
    return f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"


def _escaped(text: str) -> str:
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii")
