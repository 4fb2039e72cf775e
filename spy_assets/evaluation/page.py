"""A page of results that loads nothing: style and script are inside it, and only they may run.

Both are allowed by their hashes in the page's Content-Security-Policy, so that nothing else runs on it
and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path

from spy_assets.evaluation.markup import content_hash


@cache
def asset(name: str) -> str:
    """Text of a file that pages have in them."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def page(title: str, body: str, script: str = "") -> str:
    """Give the whole page in the tearsheet's style; the same arguments give the same bytes."""
    style = asset("tearsheet.css")
    runs = f"script-src '{content_hash(script)}'; " if script else ""
    allowed = (
        f"default-src 'none'; style-src '{content_hash(style)}'; {runs}base-uri 'none'; "
        "form-action 'none'"
    )
    end = f"<script>{script}</script>\n" if script else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body>\n{body}\n{end}</body></html>\n"
    )


def named_values(rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and texts, such as a configuration's."""
    body = "".join(
        f"<tr><th class=text>{escape(name)}</th><td class='text fold'>{escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<div class=wide><table><tbody>{body}</tbody></table></div>"
