"""Option chains, one module per vendor, behind one protocol; docs/chains.md says what each gives."""

from spy_assets.market.sources.chains.protocol import ChainSource

__all__ = ["ChainSource"]
