"""Connections: DuckDB with the lake attached as ``lake``, and the catalogue's own database.

Extensions are loaded by path out of the ``duckdb-extension-*`` wheels: nothing is downloaded or
installed, and no home folder is needed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import duckdb

from spy_assets.errors import CatalogueCorrupt, ConfigError, WarehouseError
from spy_assets.settings import Settings, without_password

ALIAS = "lake"
MEND_DISK = "free disk space if the disk is full, then run it again"
MEND_CATALOGUE = "stop `spy up`; `spy repair` brings back the catalogue's newest sound copy"
_BUSY_TIMEOUT_MS = 10_000
_CATALOGUE = "catalogue"
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}


@cache
def extension_path(name: str) -> Path:
    """Where the wheel ``duckdb-extension-<name>`` put the extension, e.g. ``ducklake``.

    Raises
    ------
    ConfigError
        If the wheel for this DuckDB version is not installed.
    """
    package = f"duckdb_extension_{name}"
    found = find_spec(package)
    for root in found.submodule_search_locations or [] if found is not None else []:
        path = Path(root) / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if path.is_file():
            return path
    raise ConfigError(
        f"no extension {name!r} for DuckDB {duckdb.__version__} in package {package}",
        hint=f"pip install duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}",
    )


def is_postgres(settings: Settings) -> bool:
    """Whether the catalogue is a Postgres database; else it is an SQLite file."""
    return (settings.catalogue_dsn or "").startswith("postgres")


def metadata_schema(settings: Settings) -> str:
    """Postgres schema of the catalogue: one per profile, so that profiles share a DSN.

    A name that is no plain identifier gets a hash at its end, so that no two profiles share a schema;
    so does one that looks like that, or is too long (Postgres cuts identifiers at 63 bytes).
    """
    name = settings.profile_name
    if re.fullmatch(r"[a-z0-9_]{1,50}", name) and not re.search(r"_[0-9a-f]{8}$", name):
        return f"spy_{name}"
    readable = re.sub(r"[^a-z0-9]+", "_", name.lower())[:40]
    return f"spy_{readable}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def catalogue_uri(settings: Settings) -> str:
    """The ``ducklake:`` address of the lake, for ATTACH and for dbt."""
    if is_postgres(settings):
        return f"ducklake:postgres:{settings.catalogue_dsn}"
    return f"ducklake:sqlite:{settings.catalogue_path}"


def attach_options(settings: Settings) -> dict[str, str | int | bool]:
    """Options that every ATTACH of the lake uses, dbt's too.

    Inlining is off so that every row is in a checksummed file. The data path always wins over the
    stored one, so that a profile can be moved.
    """
    options: dict[str, str | int | bool] = {
        "DATA_PATH": settings.lake_dir,
        "OVERRIDE_DATA_PATH": True,
        "DATA_INLINING_ROW_LIMIT": 0,
    }
    if is_postgres(settings):
        options["METADATA_SCHEMA"] = metadata_schema(settings)
    else:  # readers never wait for the writer
        options |= {"META_JOURNAL_MODE": "WAL", "META_BUSY_TIMEOUT": _BUSY_TIMEOUT_MS}
    return options


def attach_sql(settings: Settings, *, read_only: bool) -> str:
    """The ATTACH statement for the lake."""
    options = [
        f"{name} {quoted(value) if isinstance(value, str) else str(value).lower()}"
        for name, value in attach_options(settings).items()
    ]
    options += ["READ_ONLY"] if read_only else []
    return f"ATTACH {quoted(catalogue_uri(settings))} AS {ALIAS} ({', '.join(options)})"


def required_extensions(settings: Settings) -> list[str]:
    """Extensions to load, in order: the catalogue's scanner, DuckLake, and httpfs for ``s3://``."""
    scanner = "postgres_scanner" if is_postgres(settings) else "sqlite_scanner"
    remote = ["httpfs"] if "://" in settings.lake_dir else []
    return [scanner, *remote, "ducklake"]


def quoted(text: str) -> str:
    """``text`` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """``name`` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def qualified(table: str) -> str:
    """``schema.table`` as a quoted name in the lake."""
    return ".".join(identifier(part) for part in (ALIAS, *table.split(".")))


def unattached(settings: Settings) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB in UTC, ready to attach the lake. Loading the extensions is what costs."""
    connection = duckdb.connect(":memory:", config=_CONFIG)
    try:
        spill = quoted(str(settings.root / "spill"))
        connection.execute(f"SET GLOBAL temp_directory = {spill}")
        for name in required_extensions(settings):
            connection.execute(f"LOAD {quoted(str(extension_path(name)))}")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET GLOBAL ducklake_max_retry_count = 100")
    except BaseException:
        connection.close()
        raise
    return connection


def connect(settings: Settings, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the lake attached as ``lake``, in UTC.

    Raises
    ------
    CatalogueCorrupt
        If the catalogue is there but cannot be read.
    WarehouseError
        If the lake cannot be attached for another reason.
    """
    connection = unattached(settings)
    try:
        attach(connection, settings, read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return connection


def attach(connection: duckdb.DuckDBPyConnection, settings: Settings, *, read_only: bool) -> None:
    """Attach the lake to an :func:`unattached` connection; raises as :func:`connect` does."""
    try:
        connection.execute(attach_sql(settings, read_only=read_only))
    except duckdb.Error as error:
        text = without_password(str(error))  # DuckDB repeats the address
        if "malformed" in text or "not a database" in text or "disk image" in text:
            raise catalogue_corrupt(settings, text) from error
        raise WarehouseError(
            f"cannot attach the lake {display_uri(settings)}: {text}",
            hint="is the catalogue there and reachable? see docs/warehouse.md",
        ) from None


def display_uri(settings: Settings) -> str:
    """The lake's address for messages, without a password."""
    return without_password(catalogue_uri(settings))


def catalogue_corrupt(settings: Settings, detail: str) -> CatalogueCorrupt:
    """The error for a damaged SQLite catalogue, with the way back."""
    return CatalogueCorrupt(
        f"the catalogue {settings.catalogue_path} is damaged: {detail}",
        hint=MEND_CATALOGUE,
    )


class Catalogue(Protocol):
    """The catalogue's own database, for what DuckLake does not offer: files and checksums."""

    #: Ends an INSERT so that a row that another writer was first to add is no error.
    if_absent: str

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a SELECT; ``?`` marks parameters."""

    def change(self, *statements: tuple[str, Sequence[Any]]) -> None:
        """Run statements with their parameters in one transaction."""

    def close(self) -> None:
        """Close the connection."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class _Closing:
    """Context manager that closes."""

    def close(self) -> None:
        """Close the connection."""
        raise AssertionError("overridden")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class SqliteCatalogue(_Closing):
    """The SQLite catalogue, by way of DuckDB's SQLite.

    Never by Python's ``sqlite3`` in this process: with two copies of SQLite on one file in one
    process, closing one drops the other's locks (sqlite.org, How To Corrupt, 2.2.1).
    """

    if_absent = ""  # the write lock leaves no other writer

    def __init__(self, connection: duckdb.DuckDBPyConnection, alias: str) -> None:
        self._connection = connection
        self._alias = alias
        connection.execute(f"USE {alias}")

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a SELECT; ``?`` marks parameters."""
        if sql.startswith("PRAGMA"):
            sql = f"SELECT * FROM sqlite_query({quoted(self._alias)}, {quoted(sql)})"
        return self._connection.execute(sql, list(params)).fetchall()

    def change(self, *statements: tuple[str, Sequence[Any]]) -> None:
        """Run statements with their parameters in one transaction."""
        self._connection.execute("BEGIN")
        try:
            for sql, params in statements:
                self._connection.execute(sql, list(params))
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class PostgresCatalogue(_Closing):
    """The Postgres catalogue."""

    if_absent = " ON CONFLICT DO NOTHING"

    def __init__(self, settings: Settings) -> None:
        self._connection = postgres_connection(settings)

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a SELECT; ``?`` marks parameters."""
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(sql.replace("?", "%s"), tuple(params))
            return [tuple(row) for row in cursor.fetchall()]

    def change(self, *statements: tuple[str, Sequence[Any]]) -> None:
        """Run statements with their parameters in one transaction."""
        with self._connection, self._connection.cursor() as cursor:
            for sql, params in statements:
                cursor.execute(sql.replace("?", "%s"), tuple(params))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def open_catalogue(settings: Settings) -> Catalogue:
    """Connect to the catalogue's own database.

    Raises
    ------
    WarehouseError
        If there is no catalogue, or its server does not answer.
    CatalogueCorrupt
        If it is no SQLite database.
    """
    if is_postgres(settings):
        return PostgresCatalogue(settings)
    path = settings.catalogue_path
    if not path.exists():
        raise WarehouseError(
            f"there is no warehouse at {settings.root}", hint="make one with `make run`"
        )
    connection = duckdb.connect(":memory:", config=_CONFIG)
    try:
        connection.execute(f"LOAD {quoted(str(extension_path('sqlite_scanner')))}")
        _attach_catalogue(connection, path)
        return SqliteCatalogue(connection, _CATALOGUE)
    except duckdb.Error as error:
        connection.close()
        raise catalogue_corrupt(settings, str(error)) from error


def _attach_catalogue(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    options = f"TYPE sqlite, BUSY_TIMEOUT {_BUSY_TIMEOUT_MS}"
    connection.execute(f"ATTACH {quoted(str(path))} AS {_CATALOGUE} ({options})")


def attached_catalogue(settings: Settings, connection: duckdb.DuckDBPyConnection) -> Catalogue:
    """The catalogue's database of an attached lake, without another connection if it can be."""
    if is_postgres(settings):
        return PostgresCatalogue(settings)
    return SqliteCatalogue(connection.cursor(), f"__ducklake_metadata_{ALIAS}")


def postgres_connection(settings: Settings) -> Any:
    """A psycopg2 connection to the catalogue's server, whose search path is the profile's schema.

    Raises
    ------
    WarehouseError
        If the server does not answer.
    """
    import psycopg2

    try:
        connection = psycopg2.connect(settings.catalogue_dsn, connect_timeout=10)
    except psycopg2.OperationalError as error:
        raise WarehouseError(
            f"no answer from the catalogue {display_uri(settings)}: {without_password(str(error))}",
            hint="start that Postgres, or unset SPY_CATALOGUE for the embedded catalogue",
        ) from error
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SET search_path TO {metadata_schema(settings)}")
    return connection


def is_initialised(settings: Settings, connection: duckdb.DuckDBPyConnection | None = None) -> bool:
    """Whether the catalogue holds a lake; looked up through an :func:`unattached` connection if given.

    Raises
    ------
    CatalogueCorrupt
        If it is no SQLite database.
    WarehouseError
        If its server does not answer.
    """
    if is_postgres(settings):
        with open_catalogue(settings) as catalogue:
            found = catalogue.query(
                "SELECT count(*) FROM information_schema.tables"
                " WHERE table_schema = ? AND table_name = 'ducklake_snapshot'",
                [metadata_schema(settings)],
            )
        return bool(found[0][0])
    path = settings.catalogue_path
    if not path.exists() or path.stat().st_size == 0:
        return False
    if connection is None:
        with closing(unattached(settings)) as own:
            return is_initialised(settings, own)
    try:
        _attach_catalogue(connection, path)
        try:
            look = "SELECT 1 FROM sqlite_master WHERE name = 'ducklake_snapshot'"
            sql = f"SELECT count(*) FROM sqlite_query({quoted(_CATALOGUE)}, {quoted(look)})"
            return bool(connection.execute(sql).fetchall()[0][0])
        finally:
            connection.execute(f"DETACH {_CATALOGUE}")
    except duckdb.Error as error:
        raise catalogue_corrupt(settings, str(error)) from error
