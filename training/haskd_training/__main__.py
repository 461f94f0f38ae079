"""`haskd` and `python -m haskd_training`: the command line, or what to install where it can't run.

A robot has the package and not what the training half needs.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point."""
    try:
        from haskd_training.commands.app import main as run

        run()
    except KeyboardInterrupt:  # while modules are imported
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "haskd").startswith("haskd"):
            raise
        sys.exit(
            f"error: haskd needs the Python package {error.name}: install the training half, "
            "pip install '.[training]' in the folder of haskd_ros"
        )


if __name__ == "__main__":
    main()
