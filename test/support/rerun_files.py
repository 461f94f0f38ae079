"""What is in a file for Rerun's viewer, as its own library reads it back."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from rerun.chunk import RrdReader


def read_back(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of each entity in the order of their stamps: component values by name, the stamp in ns
    and the cloud's number; static rows have no stamp."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for chunk in RrdReader(file).stream():
        batch = chunk.to_record_batch()
        for n in range(batch.num_rows):
            row: dict[str, Any] = {}
            for name in batch.schema.names:
                cell = batch.column(name)[n]
                if name == "stamp":
                    row[name] = cell.value
                elif name == "cloud" or ":" in name:
                    row[name] = cell.as_py()
            rows[chunk.entity_path].append(row)
    for found in rows.values():
        found.sort(key=lambda row: row.get("stamp", 0))
    return rows


def timed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that are not static."""
    return [row for row in rows if "stamp" in row]


def ids(row: dict[str, Any], kind: str = "Points3D") -> list[int]:
    return row[f"{kind}:class_ids"]


def classes(rows: dict[str, list[dict[str, Any]]], entity: str) -> list[tuple[int, str, int]]:
    """(id, name, 0xRRGGBB) of an entity's annotation context."""
    (context,) = [c for row in rows[entity] for c in row.get("AnnotationContext:context", ())]
    infos = [entry["class_description"]["info"] for entry in context]
    return [(info["id"], info["label"], info["color"] >> 8) for info in infos]
