"""Notes of what left the lake and has to be made again: a JSON file each, below ``refetch/``.

The event log says of forgotten rows that they were materialized, so something else must remember that
they are gone. ``spy run`` reads the notes and strikes out each asset that it has made again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from spy_assets.settings import Settings

FOLDER: Final = "refetch"
#: Data sets whose assets also write quarantine and coverage, in order, each with its asset.
_DATASETS: Final = {
    "daily_bars": "market/daily_bars",
    "minute_bars": "market/minute_bars",
    "minute_bars_5": "market/minute_bars_5",
    "option_chain": "options/option_chain",
    "put_call": "market/put_call",
    "rates": "market/rates",
    "volatility": "market/volatility",
}
_BY_PRODUCTS: Final = frozenset({"market.coverage", "quarantine.rows"})
#: Assets that do not carry the name of their table.
_MADE_BY: Final = {
    "options.chain_quotes": "options/option_chain",
    "ledger.signals": "signals/daily_signal",
    "ledger.decisions": "signals/daily_signal",
    "ledger.fills": "ledger/outcomes",
    "models.training_runs": "models/ppo_daily",
    "models.evaluations": "models/evaluation",
    "models.promotions": "models/evaluation",
}
#: Tables whose column `session` says in which partition a row was made.
_BY_SESSION: Final = frozenset({"ledger.signals", "ledger.decisions"}) | _BY_PRODUCTS


@dataclass(frozen=True)
class Note:
    """What is gone.

    Attributes
    ----------
    table
        Whose rows they were.
    first, last
        ISO dates of the first and last session; None where the rows do not tell their partition.
    assets
        Those that have yet to make them again, like ``market/daily_bars``.
    """

    table: str
    first: str | None
    last: str | None
    assets: tuple[str, ...]

    @property
    def days(self) -> tuple[date | None, date | None]:
        """The first and the last session as dates."""
        return (
            None if self.first is None else date.fromisoformat(self.first),
            None if self.last is None else date.fromisoformat(self.last),
        )


def note_of(table: str, ranges: Mapping[str, tuple[str, str]]) -> Note:
    """The note for a data file, given the lowest and highest value of each of its columns.

    >>> note_of("market.rates", {"session": ("2018-01-02", "2018-12-31")}).assets
    ('market/rates',)
    """
    dated = table in _BY_SESSION or table.startswith(("market.", "options.", "features."))
    first, last = ranges.get("session", (None, None)) if dated else (None, None)
    assets: tuple[str, ...] = (_MADE_BY.get(table, table.replace(".", "/", 1)),)
    if table in _BY_PRODUCTS:
        low, high = ranges.get("dataset", (min(_DATASETS), max(_DATASETS)))
        assets = tuple(asset for name, asset in _DATASETS.items() if low <= name <= high)
    return Note(table, first and first[:10], last and last[:10], assets)


def write_note(settings: Settings, name: str, note: Note) -> None:
    """Keep a note under a name, as a whole or not at all."""
    folder = settings.root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.partial"
    partial.write_text(json.dumps(asdict(note)))
    partial.replace(folder / f"{name}.json")


def read_notes(settings: Settings) -> dict[str, Note]:
    """All notes by name."""
    return {path.stem: _read(path) for path in sorted((settings.root / FOLDER).glob("*.json"))}


def _read(path: Path) -> Note:
    body = json.loads(path.read_text())
    return Note(**(body | {"assets": tuple(body["assets"])}))


def strike_out(settings: Settings, names: Iterable[str], assets: Collection[str]) -> None:
    """Strike assets out of some notes; a note without assets is removed."""
    notes = read_notes(settings)
    for name in names:
        note = notes[name]
        left = tuple(asset for asset in note.assets if asset not in assets)
        if not left:
            (settings.root / FOLDER / f"{name}.json").unlink()
        elif left != note.assets:
            write_note(settings, name, replace(note, assets=left))
