"""Backup and restore of a profile: lake, catalogue, Dagster's home and MLflow together.

<dest>/manifest.json     profile, source, root, snapshot, and SHA-256 of every file
<dest>/catalogue.sqlite  or catalogue.dump (pg_dump) for a Postgres catalogue
<dest>/lake/ dagster/ mlruns/
<dest>/models/ spool/    weights of registered versions, and trainings that MLflow does not have yet
<dest>/incidents/ refetch/ reports/ KILL RESUME
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spy_assets.clock import utc_now
from spy_assets.errors import ChecksumMismatch, ProfileMismatch, WarehouseError
from spy_assets.settings import Settings
from spy_assets.warehouse.checksums import MEND_FILES
from spy_assets.warehouse.connection import (
    catalogue_corrupt,
    connect,
    display_uri,
    is_initialised,
    is_postgres,
    metadata_schema,
    open_catalogue,
)
from spy_assets.warehouse.copies import backup_sqlite, copy_now
from spy_assets.warehouse.files import (
    LakeFile,
    ensure_table,
    lake_root,
    list_files,
    recorded,
    sha256_of,
)
from spy_assets.warehouse.locking import write_lock
from spy_assets.warehouse.recovery import sound

MANIFEST = "manifest.json"
#: Further folders of the data root that other things refer to or that must outlive the machine.
_FOLDERS = ("spool", "models", "incidents", "refetch", "reports")
#: Those that a restore replaces only when forced.
_GUARDED = ("lake", "dagster", "mlruns", "spool")
_SQLITE_SUFFIXES = (".db", ".sqlite")
_SQLITE_SIDE_FILES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class BackupReport:
    """A backup: where it is, how many files of how many bytes, and the lake's snapshot."""

    path: Path
    files: int
    bytes: int
    snapshot: int


def backup(settings: Settings, dest: Path) -> BackupReport:
    """Copy the profile to a new folder: under the write lock, SQLite by its backup API.

    Raises
    ------
    WarehouseError
        If ``dest`` is not empty, or a database cannot be copied.
    ChecksumMismatch
        Naming the data files that are damaged; no backup is left.
    CatalogueCorrupt
        If the catalogue is damaged; no backup is left.
    """
    dest = Path(dest)
    if dest.exists() and any(dest.iterdir()):
        raise WarehouseError(f"{dest} is not empty", hint="name a new folder for the backup")
    partial = dest.with_name(dest.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        snapshot = _copy_profile(settings, partial)
        report = _write_manifest(settings, partial, dest, snapshot)
        if dest.exists():
            dest.rmdir()
        partial.replace(dest)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return report


def _copy_profile(settings: Settings, dest: Path) -> int:
    """Copy everything; returns the snapshot of the copied lake."""
    with write_lock(settings, ("meta.backup",)):
        _copy_catalogue(settings, dest)  # before the files: later ones do no harm
        with open_catalogue(settings) as catalogue:
            snapshot = int(catalogue.query("SELECT max(snapshot_id) FROM ducklake_snapshot")[0][0])
            ensure_table(catalogue)
            sums, files = recorded(catalogue), list_files(catalogue, settings)
        _copy_data_files(settings, dest, files, sums)
    _copy_tree(settings.dagster_home, dest / "dagster")
    for name in _FOLDERS:  # the spool before MLflow: a training is in one of them at least
        _copy_tree(settings.root / name, dest / name)
    _copy_tree(settings.mlruns_dir, dest / "mlruns")
    for latch in (settings.kill_file, settings.resume_file):
        if latch.exists():
            _copy_file(latch, dest / latch.name)
    return snapshot


def _copy_data_files(
    settings: Settings, dest: Path, files: Sequence[LakeFile], sums: Mapping[str, str]
) -> None:
    """Copy the lake's files and compare the copies with the recorded checksums."""
    bad = []
    for file in files:
        source, target = lake_root(settings) / file.path, dest / "lake" / file.path
        if not source.exists():
            bad.append(f"missing: {file.table} {file.path}")
            continue
        _copy_file(source, target)
        if file.path in sums and sha256_of(target) != sums[file.path]:
            bad.append(f"corrupt: {file.table} {file.path}")
    if bad:
        raise ChecksumMismatch(
            "no backup was made, as the warehouse is damaged:\n" + "\n".join(bad), hint=MEND_FILES
        )


def _copy_catalogue(settings: Settings, dest: Path) -> None:
    if not is_postgres(settings):
        copy = dest / "catalogue.sqlite"
        backup_sqlite(settings.catalogue_path, copy)
        if not sound(copy):
            raise catalogue_corrupt(settings, "its copy fails SQLite's integrity check")
        return
    dump = ["-Fc", "-n", metadata_schema(settings), "-f", str(dest / "catalogue.dump")]
    _postgres_tool("pg_dump", settings, dump)


def _postgres_tool(program: str, settings: Settings, arguments: list[str]) -> None:
    from psycopg2.extensions import make_dsn, parse_dsn

    parts = parse_dsn(settings.catalogue_dsn or "")
    # The password goes by the environment, as everybody may see a command line.
    environment = os.environ | {"PGPASSWORD": parts.pop("password", "")}
    command = [program, "-d", make_dsn(**parts), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - Postgres' own program
            command, capture_output=True, text=True, check=False, env=environment
        )
    except FileNotFoundError as error:
        raise WarehouseError(
            f"{program} is not on the PATH", hint="install the Postgres client tools"
        ) from error
    if done.returncode != 0:
        raise WarehouseError(f"{program} failed: {done.stderr.strip()[-500:]}")


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix in _SQLITE_SUFFIXES:
        backup_sqlite(source, target)
    else:
        shutil.copyfile(source, target)


def _copy_tree(source: Path, target: Path) -> None:
    for path in _files(source):
        if not path.name.endswith(_SQLITE_SIDE_FILES):
            with contextlib.suppress(FileNotFoundError):  # their owners go on, and may remove them
                _copy_file(path, target / path.relative_to(source))


def _files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file():  # sockets of a running server are not kept
                yield path


def _write_manifest(settings: Settings, partial: Path, dest: Path, snapshot: int) -> BackupReport:
    sums = {str(path.relative_to(partial)): sha256_of(path) for path in _files(partial)}
    manifest = {
        "profile": settings.profile_name,
        "source": settings.source,
        "root": str(settings.root),
        "snapshot": snapshot,
        "made": utc_now().isoformat(),
        "sha256": sums,
    }
    size = sum(path.stat().st_size for path in _files(partial))
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
    return BackupReport(dest, len(sums), size, snapshot)


def check_backup(src: Path) -> dict[str, object]:
    """Verify every file of a backup; returns its manifest.

    Raises
    ------
    WarehouseError
        If ``src`` is no backup.
    ChecksumMismatch
        Naming the files that are missing or changed.
    """
    path = Path(src) / MANIFEST
    if not path.exists():
        raise WarehouseError(f"{src} is no backup: it has no {MANIFEST}")
    manifest: dict[str, object] = json.loads(path.read_text())
    sums = manifest["sha256"]
    assert isinstance(sums, dict)
    bad = [
        name
        for name, expected in sums.items()
        if not (Path(src) / name).is_file() or sha256_of(Path(src) / name) != expected
    ]
    if bad:
        raise ChecksumMismatch(
            f"the backup {src} is damaged: {', '.join(bad[:10])} ({len(bad)} in all)",
            hint="take an older backup",
        )
    return manifest


@dataclass(frozen=True)
class RestoreReport:
    """A restored profile: the lake's snapshot, and where the MLflow folder that was there is now.

    All profiles of a home share that folder, so it is set aside and not removed.
    """

    snapshot: int
    set_aside: Path | None


def restore(settings: Settings, src: Path, *, force: bool = False) -> RestoreReport:
    """Restore a backup into the profile's data root.

    Everything is verified before anything is replaced. Stop every process of the profile first. A
    halt (the file KILL) is restored, and one that is there stays; so do the lines of RESUME, by which
    the restored signals were decided.

    Parameters
    ----------
    force
        Replace an existing lake, DAGSTER_HOME and MLflow folder; else a profile that has a lake, or
        an MLflow folder that has runs, is an error.

    Raises
    ------
    WarehouseError
        If there are data already and ``force`` is not given, or if MLflow has runs of other profiles
        that the backup lacks: with or without ``force``.
    ProfileMismatch
        If the backup was made with another source, or of another profile: that is part of the names
        of its models and of its Postgres schema.
    """
    src = Path(src)
    manifest = check_backup(src)
    _require_same(manifest, settings)
    with write_lock(settings, ("meta.backup",)):
        places = _places(settings)
        taken = [str(places[name]) for name in _GUARDED if _occupied(places[name])]
        if is_postgres(settings) and is_initialised(settings):
            taken.append(display_uri(settings))
        if taken and not force:
            raise WarehouseError(
                f"{', '.join(taken)} hold data already",
                hint="restore into a new home (spy --home DIR restore …); --force replaces them",
            )
        _require_no_loss(settings, src)
        set_aside = _set_aside(settings)
        _restore_halts(settings, src)
        for name, place in places.items():
            _replace(src / name, place)
        _move_dagster(settings, str(manifest.get("root", "")))
        _restore_catalogue(settings, src)
        copy_now(settings)  # the catalogue's copies were those of the lake that is gone
    return RestoreReport(int(str(manifest["snapshot"])), set_aside)


def _restore_halts(settings: Settings, src: Path) -> None:
    settings.root.mkdir(parents=True, exist_ok=True)
    if (src / settings.kill_file.name).exists():
        shutil.copyfile(src / settings.kill_file.name, settings.kill_file)
    found = [
        file for file in (src / settings.resume_file.name, settings.resume_file) if file.exists()
    ]
    lines = dict.fromkeys(line for file in found for line in file.read_text().splitlines())
    if lines:
        settings.resume_file.write_text("".join(f"{line}\n" for line in lines))


def _require_no_loss(settings: Settings, src: Path) -> None:
    """Refuse to put MLflow back to a time before other profiles' last runs."""
    there, saved = (_runs(folder) for folder in (settings.mlruns_dir, src / "mlruns"))
    lost = {run: name for run, name in there.items() if run not in saved}
    others = sorted(set(lost.values()) - {settings.profile_name})
    if others:
        count = sum(name in others for name in lost.values())
        raise WarehouseError(
            f"{settings.mlruns_dir} is of all profiles of this home, and the backup lacks {count} "
            f"run(s) in it, of {', '.join(others)}",
            hint="restore into a new home: spy --home DIR restore …",
        )


def _runs(folder: Path) -> dict[str, str]:
    """MLflow's runs and the experiment of each, which has its profile's name."""
    database = folder / "mlflow.db"
    if not database.is_file():
        return {}
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as mlflow:
        tables = {name for (name,) in mlflow.execute("SELECT name FROM sqlite_master")}
        if not {"runs", "experiments"} <= tables:
            return {}
        return dict(
            mlflow.execute(
                "SELECT run_uuid, e.name FROM runs JOIN experiments AS e USING (experiment_id)"
            )
        )


def _set_aside(settings: Settings) -> Path | None:
    """Move MLflow's folder beside the profiles, under a name that no profile can have."""
    if not _occupied(settings.mlruns_dir):
        return None
    kept = settings.root.parent / f"mlruns.{utc_now():%Y%m%dT%H%M%S%f}"
    shutil.move(settings.mlruns_dir, kept)
    return kept


def _require_same(manifest: Mapping[str, object], settings: Settings) -> None:
    for what, ours in (("source", settings.source), ("profile", settings.profile_name)):
        if manifest[what] != ours:
            raise ProfileMismatch(
                f"the backup holds {what} {manifest[what]!r}, not {ours!r}",
                hint=f"set SPY_{what.upper()}={manifest[what]}",
            )


def _places(settings: Settings) -> dict[str, Path]:
    return {
        "lake": lake_root(settings),
        "dagster": settings.dagster_home,
        "mlruns": settings.mlruns_dir,
        **{name: settings.root / name for name in _FOLDERS},
    }


def _move_dagster(settings: Settings, origin: str) -> None:
    """Have ``dagster.yaml`` name the folders of this home: it holds absolute paths."""
    file = settings.dagster_home / "dagster.yaml"
    if origin and file.exists():
        there, here = (path.replace("'", "''") for path in (origin, str(settings.root)))  # quoted
        whole = re.compile(re.escape(there) + r"(?=[/'\"\s]|$)")
        file.write_text(whole.sub(lambda _: here, file.read_text()))


def _occupied(place: Path) -> bool:
    return any(path.name not in ("README.md", ".gitkeep") for path in _files(place))


def _replace(source: Path, place: Path) -> None:
    """Swap a folder for its copy in the backup; the old one goes only when the new one is whole."""
    fresh = place.with_name(place.name + ".restored")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    if source.exists():
        shutil.copytree(source, fresh, dirs_exist_ok=True)
    old = place.with_name(place.name + ".replaced")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.replace(old)
    fresh.replace(place)
    shutil.rmtree(old, ignore_errors=True)


def _restore_catalogue(settings: Settings, src: Path) -> None:
    if is_postgres(settings):
        _postgres_tool(
            "pg_restore", settings, ["--clean", "--if-exists", str(src / "catalogue.dump")]
        )
        return
    path = settings.catalogue_path
    for suffix in _SQLITE_SIDE_FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.rmtree(settings.root / "catalogue_copies", ignore_errors=True)
    fresh = path.with_suffix(".restored")
    shutil.copyfile(src / "catalogue.sqlite", fresh)
    fresh.replace(path)
    # A copy is in rollback-journal mode; a writer's attach puts it back to WAL, for read-only opens.
    connect(settings, read_only=False).close()
