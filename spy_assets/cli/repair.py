"""``spy repair``: the ways back from a damaged catalogue and from damaged data files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spy_assets.cli.terminal import AsJson, begin
from spy_assets.errors import CatalogueCorrupt, ChecksumMismatch

if TYPE_CHECKING:
    from spy_assets.settings import Settings
    from spy_assets.warehouse import VerifyReport


def repair(
    ctx: typer.Context,
    backup: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Take damaged data files out of this backup."),
    ] = None,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Take damaged files out of the lake, to be fetched again."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring back a damaged catalogue from its newest sound copy, then mend damaged data files.

    A file is mended from --backup if that holds it as it was written; else, with --forget, its rows
    leave the lake and `spy run` fetches them again. Nothing is deleted: damaged files are kept. A file
    without a checksum, left by a writer that was killed after its commit, gets one.
    """
    from spy_assets.warehouse import record_checksums

    terminal = begin(ctx, as_json=as_json)
    settings = terminal.settings
    snapshot = _mend_catalogue(settings)
    done: list[dict[str, Any]] = []
    for path in _damaged(_verified(settings)):
        done.append(_mend(settings, path, backup, forget=forget))
    recorded = record_checksums(settings)
    report = _verified(settings)
    report.raise_if_damaged()
    answer = {
        "catalogue_restored_to": snapshot,
        "files": done,
        "recorded": recorded,
        "checked": report.checked,
    }
    terminal.emit(answer, lambda: "\n".join(_lines(snapshot, done, recorded, report.checked)))


def _mend_catalogue(settings: Settings) -> int | None:
    """The snapshot that a damaged catalogue was brought back to; None if it was sound."""
    from spy_assets.warehouse import restore_catalogue

    try:
        if not _verified(settings).catalogue_problems:
            return None
    except CatalogueCorrupt:
        pass
    return restore_catalogue(settings)


def _verified(settings: Settings) -> VerifyReport:
    from spy_assets.warehouse import verify

    return verify(settings)


def _damaged(report: VerifyReport) -> list[str]:
    return [file.path for file in (*report.corrupt, *report.missing)]


def _mend(settings: Settings, path: str, backup: Path | None, *, forget: bool) -> dict[str, Any]:
    from spy_assets.warehouse.checksums import MEND_FILES
    from spy_assets.warehouse.recovery import forget_file, mend_file

    good = None if backup is None else backup.expanduser().resolve() / "lake" / path
    if good is not None and good.is_file():
        mend_file(settings, path, good)
        return {"path": path, "mended_from": str(good)}
    if not forget:
        raise ChecksumMismatch(
            f"the data file {path} is damaged" + (f" and not in {backup}" if backup else ""),
            hint=MEND_FILES,
        )
    return {"path": path, **asdict(forget_file(settings, path))}


def _lines(
    snapshot: int | None, done: list[dict[str, Any]], recorded: int, checked: int
) -> list[str]:
    lines = [] if snapshot is None else [f"catalogue restored, lake snapshot {snapshot}"]
    lines += [f"{recorded} checksums recorded"] if recorded else []
    for item in done:
        if "mended_from" in item:
            lines.append(f"mended {item['path']} from {item['mended_from']}")
        else:
            lines.append(
                f"{item['table']}: {item['rows']} rows left the lake; `spy run` brings them"
            )
    return [*lines, f"{checked:,} files checked, all as written"]


def register(app: typer.Typer) -> None:
    """Add ``repair``."""
    app.command()(repair)
