"""Which model may speak at a time: the champion effective then, trained on nothing later.

Promotions are rows (``models.promotions``). A replay of session D asks for the champion *as of* D,
so a model promoted or trained later can never decide for D, whatever alias the registry shows.
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

    Parameters
    ----------
    promotions
        Rows of ``models.promotions``.
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
        for row in promotions
        if row["alias"] == CHAMPION
        and row["accepted"]
        and row["effective_from"] <= instant
        and first_session_allowed(row["train_end"], purge_sessions) <= session
    ]
    if not eligible:
        return None
    latest = max(eligible, key=lambda row: (row["effective_from"], _version_order(row["version"])))
    return _champion(latest)


def first_session_allowed(train_end: date, purge_sessions: int) -> date:
    """Give the first session that a model trained through ``train_end`` may decide for."""
    return next_session(train_end, purge_sessions + 1)


def _version_order(version: Any) -> tuple[int, str]:
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
