"""The command that says what to label next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from haskd_training.commands.options import Assignments, Caches, ConfigFile
from haskd_training.core.progress import console, step
from haskd_training.core.run_folder import only_user


def suggest(
    caches: Caches,
    model: Annotated[Path, typer.Option(help="the best model there is so far")],
    out: Annotated[Path, typer.Option(help="folder of the suggestions")],
    n: Annotated[int, typer.Option("--n", min=1, help="sweeps to suggest at most")] = 10,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """Say which sweeps without labels are most worth a human's time, and where in them."""
    from haskd_training.core.settings import load_settings
    from haskd_training.data.caches.cache import Cache
    from haskd_training.reports.html_page import write
    from haskd_training.reports.suggestion_page import page, table
    from haskd_training.suggestions.config import SuggestConfig
    from haskd_training.suggestions.document import DOCUMENT, write_document
    from haskd_training.suggestions.suggest import suggest as work

    settings = load_settings(SuggestConfig, config, set_ or ())
    opened = [Cache.open(path) for path in caches]
    with only_user(out):
        with step("looking at sweeps") as progress:
            found = work(opened, model, n, out, settings, progress)
        write_document(found, opened, out / DOCUMENT)
        console.print(table(found, opened))
        with step("writing the report"):
            write(page(found, opened, out / "pictures"), out / "report.html")
    console.print(f"report: {out / 'report.html'}; for programs: {out / DOCUMENT}")
