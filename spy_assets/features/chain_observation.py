"""From chain features to the market row of `daily_15_chain_v1`; training and signals build it here.

The row has the seven dimensions that both daily contracts share, from ``features.daily_15``, and the
three of the chain. The proxies are left out of it: a policy that was trained on chains is held on a
session without one, and can never be given the other definition.
"""

from __future__ import annotations

import polars as pl

from spy_assets.features.contracts import CHAIN_DIMENSIONS, DAILY_15_CHAIN_V1, DAILY_15_PROXY_V1
from spy_assets.features.observation import parse_quality
from spy_assets.features.versions import last_of_each_session
from spy_assets.sessions import decision_time

#: Dimension -> the chain feature that it scales.
SOURCES = {
    "pcr_chain": "pcr_volume",
    "iv_skew_chain": "iv_skew_25d",
    "gamma_chain": "gex_near_balance",
}
#: The `quote_kind` of a chain that traders quoted.
REAL_QUOTES = "chain"
_NO_CHAIN = pl.Schema(
    {"session": pl.Date, "quality": pl.String} | dict.fromkeys(SOURCES.values(), pl.Float64)
)
_CHAIN_NAMES = tuple(dimension.name for dimension in CHAIN_DIMENSIONS.values())


def _scaled(name: str) -> pl.Expr:
    x = pl.col(SOURCES[name])
    scaling = {
        "pcr_chain": x / 3.0,
        "iv_skew_chain": (x + 0.05) / 0.30,
        "gamma_chain": (x + 1.0) / 2.0,
    }
    return scaling[name].clip(0.0, 1.0).alias(name)


def _reasons(row: dict[str, object]) -> str:
    """The `quality` of the joined row: reasons of the contract's own dimensions only."""
    daily = row.get("quality")
    found = parse_quality(daily if isinstance(daily, str) else None)
    chain = row["quality_chain"]
    told = parse_quality(chain) if isinstance(chain, str) else None
    for name in _CHAIN_NAMES:
        if row[name] is None:
            found[name] = "no_chain" if told is None else told.get(SOURCES[name], "no_chain")
    names = [name for name in DAILY_15_CHAIN_V1.market_names if name in found]
    return ";".join(f"{name}:{found[name]}" for name in names) or "ok"


def daily_15_chain(daily: pl.DataFrame, chain: pl.DataFrame) -> pl.DataFrame:
    """Market rows of `daily_15_chain_v1`, one per row of `daily`.

    Parameters
    ----------
    daily
        Rows of ``features.daily_15``: `session`, the dimensions, `quality`.
    chain
        Rows of ``features.chain``, at most one a session. Those of a model's chain (``quote_kind`` is
        not ``chain``) count as none.

    Returns
    -------
    pl.DataFrame
        `session`, the ten market dimensions in the contract's order, and `quality`. Sessions without a
        chain have nulls with the reason `no_chain`.
    """
    real = chain.filter(quote_kind=REAL_QUOTES) if "quote_kind" in chain.columns else chain
    columns = real.select("session", *map(_scaled, _CHAIN_NAMES), quality_chain="quality")
    joined = daily.join(columns, on="session", how="left", maintain_order="left")
    quality = [_reasons(row) for row in joined.iter_rows(named=True)]
    return joined.select("session", *DAILY_15_CHAIN_V1.market_names).with_columns(
        pl.Series("quality", quality, dtype=pl.String)
    )


def in_time(versions: pl.DataFrame) -> pl.DataFrame:
    """Of each session the last version that was available at its own decision.

    ``versions`` are rows of ``features.chain`` with `available_at`. What came later, such as a file of
    the next morning, was no help to decide, and a policy that had learnt on it would wait for it.
    """
    known = [
        available <= decision_time(session)
        for session, available in versions.select("session", "available_at").iter_rows()
    ]
    return last_of_each_session(versions.filter(pl.Series(known, dtype=pl.Boolean)))


def with_chain(daily: pl.DataFrame, chain: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``features.daily_15`` with the dimensions of `daily_15_chain_v1` in place of its own.

    The other columns, such as prices, stay.
    """
    if chain.is_empty():
        chain = pl.DataFrame(schema=_NO_CHAIN)
    own = [name for name in (*DAILY_15_PROXY_V1.market_names, "quality") if name in daily.columns]
    found = daily_15_chain(daily, chain)
    return daily.drop(own).join(found, on="session", how="left", maintain_order="left")
