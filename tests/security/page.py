"""Write the tables of attacks into docs/security-attacks.md: `python -m tests.security.page`."""

from __future__ import annotations

from pathlib import Path

from tests.security.attack import Attack, Verdict, Where
from tests.security.table import GROUPS

PAGE = Path(__file__).parents[2] / "docs" / "security-attacks.md"

_BEGIN, _END = "<!-- attacks: begin -->", "<!-- attacks: end -->"
_COLUMNS = {
    Where.OFF: "off",
    Where.STANDARD: "standard",
    Where.STRICT: "strict",
    Where.NO_NAMESPACES: "no namespaces",
    Where.NO_LANDLOCK: "no Landlock",
    Where.NEITHER: "neither",
}
_WORDS = {Verdict.STOPPED: "stopped", Verdict.THROUGH: "**through**", Verdict.DEPENDS: "depends"}


def table() -> str:
    """Return all attacks with their verdicts, in Markdown."""
    return "\n\n".join(f"### {name}\n\n{_table_of(attacks)}" for name, attacks in GROUPS.items())


def _table_of(attacks: tuple[Attack, ...]) -> str:
    lines = [
        f"| it tries to | {' | '.join(_COLUMNS.values())} |",
        "| --- |" + " --- |" * len(_COLUMNS),
        *(
            f"| {attack.what} | {' | '.join(_word(attack, where) for where in _COLUMNS)} |"
            for attack in attacks
        ),
    ]
    return "\n".join(lines)


def _word(attack: Attack, where: Where) -> str:
    return _WORDS[attack.verdict(where)] if attack.is_tried(where) else "-"


def parts_of(page: str) -> tuple[str, str, str]:
    """Return the text before the tables, the tables, and the text after them."""
    before, _, rest = page.partition(_BEGIN)
    found, _, after = rest.partition(_END)
    return before + _BEGIN, found.strip(), _END + after


def main() -> None:
    before, _, after = parts_of(PAGE.read_text("utf-8"))
    PAGE.write_text(f"{before}\n\n{table()}\n\n{after}", "utf-8")


if __name__ == "__main__":
    main()
