"""Writes gpu.json as Markdown: `python benchmarks/gpu/table.py gpu.json [--into PAGE]`.

With --into the lines between the page's two comments `<!-- figures -->` and `<!-- end -->` are
replaced, and without it the tables are printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures -->\n", "<!-- end -->"


def tables(document: dict[str, Any]) -> str:
    """A heading and a table for each part; what a part did not do stands under its heading."""
    where = "a GPU" if document["device"] == "cuda" else "a CPU, small: no figures of a GPU"
    lines = [
        f"{document['date']}, commit {document['commit']}, on {where}; clouds of "
        f"{document['clouds']}; {document['seconds']:g} s in all.",
    ]
    for name, part in document["parts"].items():
        lines += ["", f"### {name.replace('_', ' ').capitalize()}", ""]
        if part["state"] != "done":
            lines += [f"**{part['state']}** {_cell(part.get('error', ''))}".strip(), ""]
        lines += _table(part["rows"])
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if not columns:
        return []
    lines = [list(map(_title, columns)), ["---"] * len(columns)]
    lines += [[_cell(row.get(column)) for column in columns] for row in rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _title(column: str) -> str:
    return column.replace("_", " ")


def _cell(value: Any) -> str:
    """Nothing where there is no value; three digits of a number that is no count."""
    if value is None:
        return ""
    if isinstance(value, float):
        return (
            f"{value:.4f}"
            if 0.99 < value < 1
            else f"{value:.3g}"
            if value < 100
            else f"{value:.0f}"
        )
    return " ".join(str(value).split()).replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description="gpu.json as Markdown")
    parser.add_argument("figures", type=Path)
    parser.add_argument("--into", type=Path, help="page with the two comments")
    given = parser.parse_args()
    text = tables(json.loads(given.figures.read_text(encoding="utf-8")))
    if given.into is None:
        print(text, end="")
        return
    page = given.into.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        parser.error(f"{given.into} has not the comments {BEGIN.strip()} and {END}")
    given.into.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
