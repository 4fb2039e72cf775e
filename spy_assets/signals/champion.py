"""Which model may speak at a time: the champion effective then, trained on nothing later.

Promotions are rows (``models.promotions``), one per decision about a version; a row that was decided
again has versions. A replay of session D asks for the champion *as of* D and looks only at what was
known then, so a model promoted, refused or trained later changes nothing for D, whatever alias the
registry shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from spy_assets.errors import ConfigError
from spy_assets.sessions import last_closed_session, next_session, require_aware
from spy_assets.signals.contract import Basis

CHAMPION: Final = "champion"
_KEY: Final = ("model", "alias", "effective_from", "version")


@dataclass(frozen=True)
class Champion:
    """A promoted model version.

    ``basis`` is ``gate`` when it beat its baselines out of sample, ``bootstrap`` when it was seated
    for paper signals only because there was no other.
    """

    model: str
    version: str
    basis: Basis
    reason: str
    train_end: date
    effective_from: datetime

    @property
    def is_proven(self) -> bool:
        """True when the promotion gate accepted it on out-of-sample results."""
        return self.basis == "gate"


def champion_effective_at(
    promotions: Iterable[Mapping[str, Any]], moment: datetime, purge_sessions: int
) -> Champion | None:
    """Find the latest accepted champion at ``moment`` whose training had ended, plus purge, before.

    Of several promotions that took effect at the same moment, the one that was known last counts; of
    those that were known and written together, the highest version.

    Parameters
    ----------
    promotions
        Rows of ``models.promotions``, all versions of each. Only those with ``available_at`` not after
        ``moment`` are looked at; a row without it was known when it took effect.
    moment
        Decision time; its session is the last one closed by then.
    purge_sessions
        Sessions that must lie between the end of training and the session of the decision. With
        ``train_end`` on session 0 and a purge of 6, session 7 is the first that the model may see.

    Returns
    -------
    Champion or None
        None means ``no_model_yet``.

    Raises
    ------
    ConfigError
        If ``purge_sessions`` is negative.
    NaiveTimestamp
        If ``moment`` has no time zone.
    """
    if purge_sessions < 0:
        raise ConfigError(f"purge_sessions={purge_sessions} is negative", hint="give 0 or more")
    instant = require_aware(moment)
    session = last_closed_session(instant)
    eligible = [
        row
        for row in accepted_promotions(promotions, instant)
        if row["effective_from"] <= instant
        and first_session_allowed(row["train_end"], purge_sessions) <= session
    ]
    return _champion(eligible[-1]) if eligible else None


def accepted_promotions(
    promotions: Iterable[Mapping[str, Any]], moment: datetime | None = None
) -> list[Mapping[str, Any]]:
    """Give the promotions to champion that stand by what was known at ``moment``, the latest last.

    ``None`` takes everything that is known. Of a decision's versions the last one counts, so that a
    promotion that was taken back is not among them.
    """
    last: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in sorted(promotions, key=_written):
        if moment is None or _known_from(row) <= moment:
            last[tuple(row[name] for name in _KEY)] = row
    standing = [row for row in last.values() if row["alias"] == CHAMPION and row["accepted"]]
    return sorted(standing, key=_order)


def first_session_allowed(train_end: date, purge_sessions: int) -> date:
    """Give the first session that a model trained through ``train_end`` may decide for."""
    return next_session(train_end, purge_sessions + 1)


def _known_from(row: Mapping[str, Any]) -> datetime:
    known: datetime = row.get("available_at") or row["effective_from"]
    return known


def _written(row: Mapping[str, Any]) -> tuple[datetime, datetime]:
    return _known_from(row), row.get("ingested_at") or _known_from(row)


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["effective_from"], *_written(row), version_order(row["version"])


def version_order(version: Any) -> tuple[int, str]:
    """Sort versions as the numbers that they are."""
    text = str(version)
    return (int(text) if text.isdigit() else -1, text)


def _champion(row: Mapping[str, Any]) -> Champion:
    return Champion(
        model=row["model"],
        version=str(row["version"]),
        basis="gate" if row["basis"] == "gate" else "bootstrap",
        reason=row["reason"] or "",
        train_end=row["train_end"],
        effective_from=row["effective_from"],
    )
