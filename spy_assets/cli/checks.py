"""What ``spy doctor`` looks at. Each check tells what it saw and, if it fails, how to mend it.

A check changes nothing: no folder is made, no lake, no lock left behind.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spy_assets.errors import SourceUnavailable, SpyError
from spy_assets.settings import PROJECT_ROOT, SECRETS, Settings, without_password

Status = Literal["ok", "warn", "fail", "skip"]
#: A sample profile with models and MLflow takes about 1 GB; half of that is a reason to worry.
LOW_DISK_BYTES = 2_000_000_000
NO_DISK_BYTES = 200_000_000
DEFAULT_PORTS = {"Dagster UI": 3000, "MLflow UI": 5000}


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    status: Status
    detail: str
    fix: str | None = None


def all_checks(settings: Settings) -> Iterator[Check]:
    """Every check in the order of the report; an error of ours is a failed line, never the end."""
    groups: tuple[tuple[str, Callable[[Settings], Iterator[Check]]], ...] = (
        ("python", check_python),
        ("packages", check_packages),
        ("DuckDB extensions", check_extensions),
        ("settings", check_settings),
        ("calendar", check_calendar),
        ("disk", check_disk),
        ("clock", check_clock),
        ("write lock", check_lock),
        ("numba cache", check_numba_cache),
        ("warehouse", check_warehouse),
        ("dbt manifest", check_manifest),
        ("DAGSTER_HOME", check_dagster_home),
        ("ports", check_ports),
    )
    for name, group in groups:
        try:
            yield from group(settings)
        except SpyError as error:
            yield Check(name, "fail", error.message, error.hint)


def check_python(settings: Settings) -> Iterator[Check]:  # noqa: ARG001
    """The interpreter's version."""
    number = ".".join(str(part) for part in sys.version_info[:3])
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    fix = None if fits else "use Python 3.11 or 3.12: make clean, then make PYTHON=python3.11 run"
    yield Check("python", "ok" if fits else "fail", f"{number} at {sys.executable}", fix)


def check_packages(settings: Settings) -> Iterator[Check]:  # noqa: ARG001
    """The packages that matter, and that they are those of constraints.txt."""
    from importlib.metadata import PackageNotFoundError, version

    pins = _pins(PROJECT_ROOT / "constraints.txt")
    for name in ("dagster", "duckdb", "torch", "mlflow", "dbt-core", "dbt-duckdb"):
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Check(
                name, "fail", "not installed", "run `make run` once; it installs everything"
            )
            continue
        pinned = pins.get(name)
        if pinned is None or _public(found) == _public(pinned):
            yield Check(name, "ok", found)
        else:
            fix = f"pip install -c constraints.txt '{name}=={pinned}'"
            yield Check(name, "warn", f"{found}, tested with {pinned}", fix)


def _pins(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name.strip().lower(): number.strip() for name, number in pairs}


def _public(number: str) -> str:
    """A version without its local part: 2.13.0+cpu is 2.13.0."""
    return number.partition("+")[0]


def check_extensions(settings: Settings) -> Iterator[Check]:
    """DuckDB loads the lake's extensions out of their wheels."""
    import duckdb

    from spy_assets.warehouse.connection import extension_path, quoted, required_extensions

    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    try:
        for name in required_extensions(settings):
            label = f"DuckDB extension {name}"
            try:
                connection.execute(f"LOAD {quoted(str(extension_path(name)))}")
                yield Check(label, "ok", "loads")
            except duckdb.Error as error:
                package = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
                fix = f"pip install --force-reinstall {package}"
                yield Check(label, "fail", str(error).splitlines()[0], fix)
    finally:
        connection.close()


def check_settings(settings: Settings) -> Iterator[Check]:
    """What is set to something else than its default, secrets masked."""
    changed = changed_settings(settings)
    listing = ", ".join(f"{name}={value}" for name, value in changed.items()) or "all defaults"
    yield Check("settings", "ok", listing)
    yield Check(
        "profile", "ok", f"{settings.profile_name} (source {settings.source}) at {settings.root}"
    )


def changed_settings(settings: Settings) -> dict[str, str]:
    """Name and value of every setting that differs from its default; secrets read ``***``."""
    from pydantic import BaseModel

    changed: dict[str, str] = {}
    for name, field in type(settings).model_fields.items():
        value, default = getattr(settings, name), field.default
        if isinstance(value, BaseModel):
            for inner in type(value).model_fields:
                if getattr(value, inner) != getattr(default, inner):
                    changed[f"SPY_{name}__{inner}".upper()] = masked(inner, getattr(value, inner))
        elif value != default:
            changed[f"SPY_{name}".upper()] = masked(name, value)
    return changed


def masked(name: str, value: Any) -> str:
    """A value for a report: secrets are hidden, of an address only its password."""
    if name == "catalogue" and value is not None:
        return without_password(value.get_secret_value())
    return "***" if name in SECRETS else without_password(str(value))


def check_calendar(settings: Settings) -> Iterator[Check]:
    """The range of the calendar, and what today is."""
    from spy_assets import clock, sessions

    now = clock.utc_now()
    today = now.astimezone(sessions.NEW_YORK).date()
    span = f"{sessions.CALENDAR_START} to {sessions.CALENDAR_END}"
    if (sessions.CALENDAR_END - today).days < 365:
        fix = "run `python -m spy_assets.sessions` with a newer exchange_calendars"
        yield Check("calendar", "fail", f"{span} ends within a year", fix)
        return
    overrides = (
        f", overrides from {settings.calendar_overrides}" if settings.calendar_overrides else ""
    )
    yield Check("calendar", "ok", f"XNYS {span}{overrides}; today, {today}, {_day_in_words(now)}")


def _day_in_words(now: Any) -> str:
    from spy_assets import sessions

    today = now.astimezone(sessions.NEW_YORK).date()
    if not sessions.is_session(today):
        return f"is no session; the next is {sessions.next_session(today)}"
    close = sessions.session_close(today).astimezone(sessions.NEW_YORK)
    kind = "is a half day" if sessions.is_half_day(today) else "is a session"
    return f"{kind} until {close:%H:%M} New York time"


def check_disk(settings: Settings) -> Iterator[Check]:
    """Room for data."""
    folder = _existing(settings.root)
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:,.1f} GB free at {folder}"
    if free >= LOW_DISK_BYTES:
        yield Check("disk", "ok", text)
    else:
        status: Status = "fail" if free < NO_DISK_BYTES else "warn"
        yield Check("disk", status, text, "free some, or set SPY_HOME to a larger disk")


def check_clock(settings: Settings) -> Iterator[Check]:
    """How far the clock is off, by the server that live signals ask."""
    from spy_assets import clock

    url = settings.clock_server
    if url is None:
        told = "not compared: history needs no clock, and SPY_LIVE__CLOCK_URL is not set"
        yield Check("clock", "skip", told)
        return
    try:
        skew = clock.clock_skew_s(url)
    except SourceUnavailable as error:
        if settings.live.clock_url is not None:
            raise
        fix = "set SPY_LIVE__CLOCK_URL to a server that answers"
        yield Check("clock", "warn", f"not compared: {error.message}", fix)
        return
    text = f"{skew:+.1f} s against {url}, limit {settings.risk.max_clock_skew_s:g} s"
    fine = abs(skew) <= settings.risk.max_clock_skew_s
    yield Check(
        "clock", "ok" if fine else "fail", text, None if fine else "synchronise the clock (NTP)"
    )


def check_lock(settings: Settings) -> Iterator[Check]:
    """Who is writing."""
    from spy_assets.errors import LockTimeout
    from spy_assets.warehouse.connection import is_postgres
    from spy_assets.warehouse.lock import WriteLock
    from spy_assets.warehouse.locking import lock_path

    path = lock_path(settings)
    if is_postgres(settings):
        yield Check("write lock", "ok", "held in Postgres (pg_locks, locktype advisory)")
        return
    if not path.exists():
        yield Check("write lock", "ok", "free")
        return
    lock = WriteLock(path, 0.0)
    try:
        lock.acquire()
    except LockTimeout:
        fix = "nothing to do while that process works; else stop it"
        yield Check("write lock", "warn", f"held by {lock.holder()}", fix)
        return
    lock.release()
    yield Check("write lock", "ok", "free")


def check_numba_cache(settings: Settings) -> Iterator[Check]:
    """Compiled kernels can be cached."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR", settings.numba_cache))
    yield _writable("numba cache", folder, "set NUMBA_CACHE_DIR to a folder that you may write")


def _writable(name: str, folder: Path, fix: str) -> Check:
    existing = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            return Check(name, "ok", f"{folder} can be written")
    except OSError as error:
        return Check(name, "fail", f"{existing} cannot be written: {error.strerror}", fix)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def check_warehouse(settings: Settings) -> Iterator[Check]:
    """The lake opens, has the right source and schema, and its catalogue is sound."""
    from spy_assets.warehouse import Warehouse
    from spy_assets.warehouse.connection import is_initialised, is_postgres, open_catalogue
    from spy_assets.warehouse.migrations import MIGRATIONS

    if not is_initialised(settings):
        yield Check("warehouse", "warn", f"none yet at {settings.root}", "make one with `make run`")
        return
    with Warehouse.open(settings, read_only=True) as lake:
        version = lake.execute("SELECT max(version) AS v FROM lake.meta.migrations")["v"][0]
        source = lake.execute("SELECT source FROM lake.meta.profile")["source"][0]
        tables, snapshot = len(lake.tables()), lake.snapshot_id()
    text = (
        f"schema {version} of {MIGRATIONS[-1].version}, source {source}, {tables} tables, snapshot"
    )
    yield Check("warehouse", "ok", f"{text} {snapshot}")
    if is_postgres(settings):
        yield Check("catalogue", "ok", "Postgres answers")
        return
    with open_catalogue(settings) as catalogue:
        lines = [str(row[0]) for row in catalogue.query("PRAGMA quick_check")]
    sound = lines == ["ok"]
    fix = None if sound else "spy repair brings back its newest sound copy"
    yield Check(
        "catalogue", "ok" if sound else "fail", "sound" if sound else "; ".join(lines[:3]), fix
    )


def check_manifest(settings: Settings) -> Iterator[Check]:  # noqa: ARG001
    """The manifest of dbt was prepared after the last change of its models."""
    project = PROJECT_ROOT / "dbt_features"
    manifest = project / "target" / "manifest.json"
    fix = "run `python -m spy_assets.warehouse.dbt_sql prepare` (make does it)"
    if not manifest.is_file():
        yield Check("dbt manifest", "fail", f"{manifest} is missing", fix)
        return
    built = manifest.stat().st_mtime
    newer = sorted(
        str(path.relative_to(project))
        for path in _dbt_sources(project)
        if path.stat().st_mtime > built
    )
    if newer:
        yield Check("dbt manifest", "fail", f"older than {', '.join(newer[:3])}", fix)
    else:
        yield Check("dbt manifest", "ok", "prepared and fresh")


def _dbt_sources(project: Path) -> Iterator[Path]:
    for path in project.rglob("*"):
        if path.suffix in {".sql", ".yml"} and not {"target", "logs"} & set(path.parts):
            yield path


def check_dagster_home(settings: Settings) -> Iterator[Check]:
    """Dagster's folder can be written and its configuration is there."""
    home = settings.dagster_home
    name = "DAGSTER_HOME"
    line = _writable(name, home, "set SPY_HOME to a folder that you may write")
    outside = os.environ.get("DAGSTER_HOME")
    if line.status == "ok" and outside and Path(outside).resolve() != home.resolve():
        yield Check(
            name, "warn", f"{outside} in the environment; `spy` uses {home}", f"unset {name}"
        )
    elif line.status == "ok" and not (home / "dagster.yaml").is_file():
        yield Check(name, "ok", f"{home}; dagster.yaml comes with the first run")
    else:
        yield line


def check_ports(settings: Settings) -> Iterator[Check]:  # noqa: ARG001
    """The ports of ``spy up`` are free."""
    for name, port in DEFAULT_PORTS.items():
        holder = port_holder(port)
        if holder is None:
            yield Check(f"port {port}", "ok", f"free ({name})")
        else:
            option = "--port" if port == DEFAULT_PORTS["Dagster UI"] else "--mlflow-port"
            fix = f"`spy up {option} {port + 1}`, or stop that process"
            yield Check(f"port {port}", "warn", f"taken by {holder} ({name})", fix)


def port_holder(port: int) -> str | None:
    """Who listens on a port of the loopback, in words; None if it is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return _listener(port)
    return None


def _listener(port: int) -> str:
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            address = connection.laddr
            if connection.status != psutil.CONN_LISTEN or not address or address.port != port:
                continue
            if connection.pid is not None:
                command = " ".join(psutil.Process(connection.pid).cmdline())[:80]
                return f"process {connection.pid} ({command})"
    except psutil.Error:  # other users' processes are hidden on some systems
        pass
    return "another process"
