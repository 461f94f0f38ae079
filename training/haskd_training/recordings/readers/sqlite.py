"""SQLite files as rosbag2 writes them: tables that hold rows, and nothing that computes them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from haskd_ros.errors import InputError
from haskd_ros.text import quoted

_TABLES = ("messages", "topics", "message_definitions", "schema")
_NO_COLUMN = "select name from pragma_table_xinfo(?) where hidden > 1"


def check_tables(database: Path) -> None:
    """Check that what is read are plain tables: a generated column or a virtual table takes no room
    in the file and may yield gigabytes. What SQLite can't read is left to the reader.

    Raises:
        InputError: they are something else.
    """
    address = f"file:{quote(str(database.absolute()))}?immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            made = connection.execute("select name, type, sql from sqlite_master").fetchall()
            for name, kind, sql in made:
                if str(name).lower() not in _TABLES:
                    continue
                is_table = kind == "table" and str(sql).lower().startswith("create table")
                generated = is_table and connection.execute(_NO_COLUMN, (name,)).fetchall()
                if not is_table or generated:
                    raise InputError(
                        f"{database} is no recording: {quoted(name)} is no plain table, its rows "
                        "would be computed"
                    )
    except sqlite3.Error:
        return
