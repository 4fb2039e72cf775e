"""Which columns each feature column is computed from, said once for the UI.

Written down from the formulas, not parsed out of the SQL, which would cost seconds at every start. What
is not named here carries the name of the column that it copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from spy_assets.features.columns import INDICATOR_COLUMNS
from spy_assets.warehouse.dbt_sql import indicators_spec
from spy_assets.warehouse.tables import TABLES

#: Table without its schema, and column: `adjusted_bars.close`.
Inputs = tuple[str, ...]

_RANGE = ("high", "low", "close")
_CLOSE: Inputs = ("adjusted_bars.close",)
_VOLUME: Inputs = ("adjusted_bars.volume",)
_OPEN_CLOSE: Inputs = ("adjusted_bars.open", "adjusted_bars.close")
_VIX: Inputs = ("volatility.close",)
_PUT_CALL: Inputs = ("put_call.ratio",)

#: Columns of indicators that are made of more, or of something else, than the close.
_INDICATOR_INPUTS: Mapping[str, Sequence[str]] = {
    "atr_14": _RANGE,
    "plus_di_14": _RANGE,
    "minus_di_14": _RANGE,
    "adx_14": _RANGE,
    "mfi_14": (*_RANGE, "volume"),
}

_MARKET_DAILY: Mapping[str, Inputs] = {
    "close_adjusted": _CLOSE,
    "factor": ("adjusted_bars.factor",),
    "bar_number": ("daily_bars.session",),
    **dict.fromkeys(("return_1", "return_5", "return_20", "log_return"), _CLOSE),
    **dict.fromkeys(("overnight_return", "intraday_return"), _OPEN_CLOSE),
    **{f"realized_vol_{length}": _CLOSE for length in (5, 10, 20, 60)},
    "parkinson_vol_20": ("daily_bars.high", "daily_bars.low"),
    "garman_klass_vol_20": tuple(f"daily_bars.{name}" for name in ("open", *_RANGE)),
    **dict.fromkeys(("down_vol_20", "up_vol_20"), _CLOSE),
    "volume_ratio_20": _VOLUME,
    "down_up_volume_10": (*_VOLUME, *_CLOSE),
    "close_to_sma_252": _CLOSE,
    "drawdown_252": ("adjusted_bars.high", *_CLOSE),
    "vix_open": ("volatility.open",),
    **dict.fromkeys(("vix", "iv_rank_252", "iv_percentile_252"), _VIX),
    **dict.fromkeys(("vix1d", "vix9d", "vix3m", "vvix", "skew"), _VIX),
    **dict.fromkeys(("vix9d_over_vix", "vix_over_vix3m"), _VIX),
    "volatility_premium_20": (*_VIX, *_CLOSE),
    "rate_is_constant": ("rates.is_constant",),
    **dict.fromkeys(("put_call_total", "put_call_equity", "put_call_index"), _PUT_CALL),
}
_DIMENSIONS: Mapping[str, Inputs] = {
    "price": _CLOSE,
    "rsi14": ("indicators.rsi_cutler_14",),
    "macd_hist": ("indicators.macd_hist",),
    "iv": _VIX,
    "iv_rank": _VIX,
    "pcr": (*_VOLUME, *_CLOSE),
    "volume_surge": _VOLUME,
    "iv_skew": _CLOSE,
    "gamma_proxy": ("daily_bars.close",),
    "mom5": _CLOSE,
}
_DERIVED: Mapping[str, Mapping[str, Inputs]] = {
    "market_daily": _MARKET_DAILY,
    "daily_15": {
        **_DIMENSIONS,
        "quality": tuple(dict.fromkeys(one for inputs in _DIMENSIONS.values() for one in inputs)),
        "vix_open": ("volatility.open",),
        "vix_close": _VIX,
    },
    "regime": {
        "regime": (*_VIX, *_CLOSE),
        "quality": (*_VIX, *_CLOSE),
        "vix": _VIX,
        "trend": _CLOSE,
    },
}
#: What forwards, volatilities and Greeks of a chain are computed from beside its quotes; the quotes
#: of a model's chain are computed from the same.
_CHAIN: Inputs = (
    "rates.rate", "daily_bars.close", "daily_bars.dividend", "volatility.close",
)  # fmt: skip
_CHAIN_QUOTES: Mapping[str, Inputs] = {
    "rate": ("rates.rate",),
    "spot": ("daily_bars.close",),
    **dict.fromkeys(("bid", "ask", "mid", "dividend_yield", "forward", "early_exercise"), _CHAIN),
    **dict.fromkeys(("is_otm", "iv", "iv_status", "iv_error", "iv_used"), _CHAIN),
    **dict.fromkeys(("delta", "gamma", "theta", "vega", "rho"), _CHAIN),
    **dict.fromkeys(("spot_used", "spot_source"), _CHAIN),
}
_SMILE = ("iv", "right", "strike", "forward", "years")
_WINGS = ("iv", "right", "delta", "is_otm", "years")
_TRADED, _OPEN = ("volume", "right"), ("open_interest", "right", "years")
_NEAR = ("strike", "spot_used")
_GAMMAS = ("gamma", "open_interest", "right", "spot_used")
_PAIN = ("strike", "open_interest", "right", "expiry")
_SIDES = ("call", "put", "pcr")
#: Columns of `features.chain`, and those of the quotes that each is computed from.
_CHAIN_FEATURES: Mapping[str, Sequence[str]] = {
    "quote_kind": ("quote_kind",),
    **dict.fromkeys(("atm_iv_call", "atm_iv_put", "atm_iv_avg"), _SMILE),
    **dict.fromkeys(("iv_skew_otm", "iv_term_slope", "iv_rank", "iv_percentile"), _SMILE),
    **dict.fromkeys(("iv_skew_25d", "risk_reversal_25d"), _WINGS),
    **{f"{side}_volume": _TRADED for side in _SIDES},
    **{f"{side}_open_interest": _OPEN for side in _SIDES},
    **{f"near_{side}_volume": (*_TRADED, *_NEAR) for side in _SIDES},
    **{f"near_{side}_open_interest": (*_OPEN, *_NEAR) for side in ("call", "put")},
    "gex_total": _GAMMAS,
    **dict.fromkeys(("gex_near_atm", "gex_near_balance"), (*_GAMMAS, "strike")),
    "max_pain": _PAIN,
    "max_pain_distance": (*_PAIN, "spot_used"),
    "expected_move": ("mid", "right", "strike", "forward", "expiry", "spot_used"),
    "spot": ("spot_used",),
}
#: Where a column that is not named above is copied from, the first that has it.
_COPIED_FROM = ("daily_bars", "indicators", "rates")
#: When a row was known is the latest of all its inputs.
_EVERYTHING = ("available_at",)
#: Stamped by the write itself.
_STAMPED = ("ingested_at",)


def indicator_lineage() -> dict[str, Any]:
    """Lineage of ``features.indicators``; what is in dollars is divided by the session's factor."""
    inputs: dict[str, Sequence[str]] = {}
    for name in indicators_spec().payload:
        kind = INDICATOR_COLUMNS.get(name)
        if name.startswith("day_of_"):
            inputs[name] = ("session",)
        elif kind is None:
            inputs[name] = (name,)
        else:
            columns = _INDICATOR_INPUTS.get(name, ("close",))
            inputs[name] = (*columns, "factor") if "dollars" in kind[1] else columns
    bars = dg.AssetKey(["features", "adjusted_bars"])
    return _metadata(
        {
            name: [dg.TableColumnDep(asset_key=bars, column_name=column) for column in columns]
            for name, columns in inputs.items()
        }
    )


def chain_lineage() -> dict[str, Any]:
    """Lineage of ``options.chain_quotes``; what the vendor gives has no column upstream."""
    return _metadata(
        {
            name: [_dep(*one.split("."), layer="market") for one in inputs]
            for name, inputs in _CHAIN_QUOTES.items()
        }
    )


def chain_feature_lineage() -> dict[str, Any]:
    """Lineage of ``features.chain``; its quality tells of everything that a feature needs."""
    every = tuple(dict.fromkeys(one for inputs in _CHAIN_FEATURES.values() for one in inputs))
    inputs = {name: _CHAIN_FEATURES.get(name, every) for name in TABLES["features.chain"].payload}
    return _metadata(
        {
            name: [_dep("option_chain", column, layer="options") for column in columns]
            for name, columns in inputs.items()
        }
    )


def model_lineage(
    model: str, columns: Iterable[str], upstream: Mapping[dg.AssetKey, Sequence[str]]
) -> dict[str, Any]:
    """Lineage of a dbt model.

    Parameters
    ----------
    model
        Its name.
    columns
        Its columns.
    upstream
        Columns of the assets that it reads. A staging view copies its source's.
    """
    tables = {key.path[-1].removeprefix("stg_"): key for key in upstream}
    derived = _DERIVED.get(model)
    found: dict[str, list[dg.TableColumnDep]] = {}
    for column in columns:
        if derived is None:
            inputs = tuple(f"{table}.{column}" for table in tables)
        elif column in _STAMPED:
            continue
        elif column in _EVERYTHING:
            inputs = tuple(f"{table}.{column}" for table in tables)
        else:
            inputs = derived.get(column) or _copied(column, tables, upstream)
        found[column] = [
            dg.TableColumnDep(asset_key=tables[table], column_name=name)
            for table, _, name in (one.partition(".") for one in inputs)
        ]
    return _metadata({name: deps for name, deps in found.items() if deps})


def _copied(
    column: str,
    tables: Mapping[str, dg.AssetKey],
    upstream: Mapping[dg.AssetKey, Sequence[str]],
) -> Inputs:
    for table in _COPIED_FROM:
        if table in tables and column in upstream[tables[table]]:
            return (f"{table}.{column}",)
    return ()


def _dep(table: str, column: str, *, layer: str) -> dg.TableColumnDep:
    return dg.TableColumnDep(asset_key=dg.AssetKey([layer, table]), column_name=column)


def _metadata(deps: Mapping[str, Sequence[dg.TableColumnDep]]) -> dict[str, Any]:
    lineage = dg.TableColumnLineage({name: list(found) for name, found in deps.items()})
    return {"dagster/column_lineage": lineage}
