"""Every asset of the graph, sources first: for the code location, and for its picture."""

from spy_assets.defs import (
    agents,
    chain_backtests,
    combinatorial,
    features,
    intraday_walkforward,
    market,
    models,
    multi_asset,
    options,
    signals,
    walkforward,
)

ASSETS = [
    *market.ASSETS,
    *options.ASSETS,
    *features.ASSETS,
    *models.ASSETS,
    *agents.ASSETS,
    *multi_asset.ASSETS,
    *signals.ASSETS,
    *walkforward.ASSETS,
    *intraday_walkforward.ASSETS,
    *combinatorial.ASSETS,
    *chain_backtests.ASSETS,
]
CHECKS = [*market.CHECKS, *features.CHECKS]
