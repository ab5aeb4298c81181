"""Checks of the documentation site while it is built: its pages load nothing from another host.

A violation is a warning, which `mkdocs build --strict` treats as an error.
"""

from __future__ import annotations

import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

log = logging.getLogger("mkdocs.hooks.network")

_REMOTE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_REMOTE_IN_CSS = re.compile(r"(?:url\(\s*[\"']?|@import\s+[\"'])\s*(?:https?:)?//[^)\"']+", re.IGNORECASE)
_LOADS = {"src", "srcset", "data", "poster"}
# The theme's script fetches facts about the repository from api.github.com, and mermaid from unpkg.com.
_FETCHES = {"data-md-component": "source", "class": "mermaid"}


class _Loads(HTMLParser):
    """Collects everything that a page loads from another host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            loads = name in _LOADS or (name == "href" and tag == "link")
            if (loads and _REMOTE.match(value or "")) or (_FETCHES.get(name) in (value or "").split()):
                self.found.append(f'<{tag} {name}="{value}">')
            elif name == "style":
                self.found += _REMOTE_IN_CSS.findall(value or "")


def loads_from_other_hosts(html: str) -> list[str]:
    """Return the parts of a page that make a browser contact another host when the page is shown."""
    parser = _Loads()
    parser.feed(html)
    return parser.found


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    for load in loads_from_other_hosts(output):
        log.warning("%s loads from another host: %s", page.file.src_uri, load)
    return output


def on_post_build(*, config: Any) -> None:
    for path in Path(config.site_dir).rglob("*.css"):
        for load in _REMOTE_IN_CSS.findall(path.read_text("utf-8")):
            log.warning("%s loads from another host: %s", path.name, load)
