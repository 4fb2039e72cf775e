"""Features: Polars indicators, observation contracts, the rule regime, the look-ahead audit."""
