"""Which signals a person must hear about, as incidents with one key each.

A key names the cause, not the session, so that an outage of three days is one incident.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spy_assets.signals.contract import Signal

#: Reason or rule -> title of the alert.
TITLES: Final = {
    "model_output_not_finite": "The model's output is not usable",
    "model_error": "The model does not answer",
    "registry_unavailable": "The model registry does not answer",
    "contract_mismatch": "The model was trained on another observation",
    "mandate_mismatch": "The model was trained for another account",
    "missing_input": "An input of the model is missing",
    "kill_switch": "Trading is halted",
    "drawdown_halt": "Drawdown halt",
    "clock_skew": "The clock is wrong",
    "source_outage": "The source does not answer",
    "stale_data": "Market data is stale",
    "stale_model": "The model is too old",
}

_OF_A_MODEL: Final = frozenset(
    {
        "model_output_not_finite",
        "model_error",
        "registry_unavailable",
        "contract_mismatch",
        "mandate_mismatch",
        "stale_model",
    }
)


@dataclass(frozen=True)
class Incident:
    """One cause: ``key`` is stable while it lasts."""

    key: str
    title: str
    detail: str


def is_signal_incident(key: str, symbol: str) -> bool:
    """Whether a key was given by :func:`incidents_of` to a signal of ``symbol``."""
    cause, _, rest = key.partition(":")
    return cause in TITLES and rest.split(":")[0] == symbol


def incidents_of(signal: Signal) -> tuple[Incident, ...]:
    """List what a signal reports as broken, in the order of its reasons; empty when all is well."""
    found = []
    for reason in signal.reasons:
        cause, _, detail = reason.partition(": ")
        if cause in TITLES:
            key = f"{cause}:{signal.symbol}"
            if cause in _OF_A_MODEL:
                key += f":{signal.model}:{signal.model_version}"
            found.append(Incident(key, TITLES[cause], f"{signal.session}: {detail or cause}"))
    return tuple(found)
