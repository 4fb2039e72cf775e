"""MLflow's database after its folder was moved, copied or restored elsewhere.

MLflow stores the absolute address of every artifact, in five columns. Here artifacts always are below
``<mlruns>/artifacts/<experiment>``, so addresses that begin elsewhere are put right.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

_COLUMNS: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_TIMEOUT_S: Final = 30.0


def follow_folder(folder: Path) -> int:
    """Have ``folder/mlflow.db`` name the artifacts in ``folder``; returns the experiments that moved.

    Experiments whose artifacts are not here, or are kept by a server, stay as they are.

    Parameters
    ----------
    folder
        MLflow's folder, absolute.

    Raises
    ------
    sqlite3.Error
        If the database cannot be read or written.
    """
    database = folder / "mlflow.db"
    if not database.is_file():
        return 0
    with closing(sqlite3.connect(database, timeout=_TIMEOUT_S)) as connection, connection:
        moved = _moved(connection, folder)
        known = set(
            connection.execute(
                "SELECT m.name, c.name FROM sqlite_master AS m, "
                "pragma_table_info(m.name) AS c WHERE m.type = 'table'"
            )
        )
        for origin, here in moved:
            for table, column in known.intersection(_COLUMNS):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                    f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (here, len(origin) + 1, origin, len(origin) + 1, f"{origin}/"),
                )
    return len(moved)


def _moved(connection: sqlite3.Connection, folder: Path) -> list[tuple[str, str]]:
    """Address then and now of each experiment that is here and says that it is elsewhere."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'")
    if found.fetchone() is None:
        return []
    moved = []
    for name, origin in connection.execute("SELECT name, artifact_location FROM experiments"):
        here = folder / "artifacts" / name
        suffix = f"/artifacts/{here.as_uri().rpartition('/')[2]}"
        local = str(origin).startswith("file:") and str(origin).endswith(suffix)
        if local and origin != here.as_uri() and here.is_dir():
            moved.append((str(origin), here.as_uri()))
    return moved
