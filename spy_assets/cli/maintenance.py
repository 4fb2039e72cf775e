"""Commands that keep the warehouse well: verify, backup, restore, maintain, reset."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from spy_assets.cli.tables import rich_table
from spy_assets.cli.terminal import AsJson, begin
from spy_assets.errors import ChecksumMismatch, ConfigError


def verify(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Compare every data file with its SHA-256, and check the catalogue. Exit code 4 on damage."""
    from spy_assets.warehouse import verify as verify_files

    terminal = begin(ctx, as_json=as_json)
    report = verify_files(terminal.settings)
    if not terminal.as_json:
        report.raise_if_damaged()
    terminal.emit(
        {**asdict(report), "ok": report.ok},
        lambda: f"{report.checked:,} files checked, all as written; catalogue sound",
    )
    if not report.ok:
        raise typer.Exit(ChecksumMismatch.exit_code)


def backup(
    ctx: typer.Context,
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="New folder to copy into.")],
    as_json: AsJson = False,
) -> None:
    """Copy lake, Dagster's runs, MLflow's, models and a halt, consistent and checksummed.

    Readers go on meanwhile, writers wait until the lake has been copied. A damaged file is refused.
    """
    from spy_assets import warehouse

    terminal = begin(ctx, as_json=as_json)
    done = warehouse.backup(terminal.settings, destination.expanduser().resolve())
    facts = asdict(done)
    size = f"{done.files:,} files, {done.bytes / 1e6:,.1f} MB, lake snapshot {done.snapshot}"
    terminal.emit(facts, lambda: f"{size}\n`spy restore {done.path}` brings it back")


def restore(
    ctx: typer.Context,
    origin: Annotated[Path, typer.Argument(metavar="SRC", help="Folder made by `spy backup`.")],
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace the data that is there; MLflow's is set aside."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a backup back, after all its checksums have been verified. Stop `spy up` first.

    MLflow's folder is of all profiles of the home. With --force the one that is there is kept beside
    the restored one; where it has runs of other profiles that the backup lacks, nothing is done.
    """
    from spy_assets import warehouse
    from spy_assets.registry.moving import follow_folder

    terminal = begin(ctx, as_json=as_json)
    done = warehouse.restore(terminal.settings, origin.expanduser().resolve(), force=force)
    # An older backup gets its migrations, and readers find the catalogue as a writer leaves it.
    warehouse.Warehouse.open(terminal.settings).close()
    follow_folder(terminal.settings.mlruns_dir)
    facts = {"root": terminal.settings.root, **asdict(done)}
    aside = "" if done.set_aside is None else f"\nMLflow's folder that was there: {done.set_aside}"
    terminal.emit(
        facts, lambda: f"restored {facts['root']} at lake snapshot {done.snapshot}{aside}"
    )


def maintain(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Merge small files, expire snapshots that nothing refers to, remove files that none needs.

    All is verified first, and damage is refused. Every snapshot that a signal, a training run or a
    promotion names is kept.
    """
    from spy_assets import clock, warehouse
    from spy_assets.defs.jobs import referenced_snapshots

    terminal = begin(ctx, as_json=as_json)
    with warehouse.Warehouse.open(terminal.settings, read_only=True) as lake:
        keep = referenced_snapshots(lake)
    report = warehouse.maintain(terminal.settings, keep=keep, now=clock.utc_now())
    facts = {**asdict(report), "kept_for_reference": len(keep)}
    terminal.emit(
        facts, lambda: rich_table(("what", "how much"), facts.items(), title="maintenance")
    )


def reset(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove all of the profile: lake, catalogue, Dagster's runs, caches, halt and incidents.

    A halt (the file KILL) ends by it, unlike by `spy run --fresh`. MLflow's runs stay, as do objects
    in an object store. Of a Postgres catalogue the profile's schema is dropped.
    """
    from spy_assets.dagster_home import remove_profile

    terminal = begin(ctx, as_json=as_json)
    settings = terminal.settings
    root = settings.root
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Remove {root}?")):
        raise ConfigError(f"{root} was not removed", hint="say --yes if that is what you want")
    halted = settings.kill_file.exists()
    existed = remove_profile(settings, keep_halt=False)
    end = "; the halt (KILL) is gone, too" if halted else ""
    terminal.emit(
        {
            "profile": settings.profile_name,
            "root": str(root),
            "removed": existed,
            "halt_removed": halted,
        },
        lambda: f"removed {root}{end}" if existed else f"there is nothing at {root}",
    )


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (verify, backup, restore, maintain, reset):
        app.command()(command)
