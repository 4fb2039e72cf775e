"""Option chains, one module per vendor, behind one protocol; docs/chains.md says what each gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spy_assets.errors import ConfigError
from spy_assets.market.sources.chains.protocol import ChainSource

if TYPE_CHECKING:
    from spy_assets.market.sources.http import Gate
    from spy_assets.settings import Settings

__all__ = ["ChainSource", "open_chain_source"]


def open_chain_source(settings: Settings) -> ChainSource | None:
    """The source of option chains that the settings name, with a fresh request budget, or None.

    Raises
    ------
    ConfigError
        If a key or a folder that the source needs is not set.
    """
    from spy_assets.market.sources.http import Gate

    name = settings.chain_source
    if name is None:
        return None
    if name in {"files", "flat_files"}:
        return _of_files(settings, name)
    gate = Gate(settings.http)
    if name in {"polygon", "tradier", "alpaca"}:
        return _with_key(settings, name, gate)
    return _without_key(settings, name, gate)


def _of_files(settings: Settings, name: str) -> ChainSource:
    from spy_assets.market.sources.http import Gate

    if name == "flat_files":
        from spy_assets.market.sources.chains.flat_files import FlatFileChains
        from spy_assets.market.sources.chains.s3 import Credentials

        return FlatFileChains(
            Gate(settings.http),
            credentials=Credentials(
                _secret(settings, "flat_files_key_id"), _secret(settings, "flat_files_secret")
            ),
            folder=settings.root / "flat_files",
            endpoint=settings.chains.flat_files_url,
            bucket=settings.chains.flat_files_bucket,
        )
    from spy_assets.market.sources.chains.files import FileChains

    if settings.files_dir is None:
        raise ConfigError("SPY_FILES_DIR is not set", hint="point it at the folder of files")
    return FileChains(settings.files_dir)


def _with_key(settings: Settings, name: str, gate: Gate) -> ChainSource:
    chains = settings.chains
    if name == "polygon":
        from spy_assets.market.sources.chains.polygon import PolygonChains

        key = _secret(settings, "polygon_api_key")
        return PolygonChains(gate, api_key=key, base_url=chains.polygon_url)
    if name == "tradier":
        from spy_assets.market.sources.chains.tradier import TradierChains

        token = _secret(settings, "tradier_token")
        return TradierChains(gate, token=token, base_url=chains.tradier_url)
    from spy_assets.market.sources.chains.alpaca import AlpacaChains

    return AlpacaChains(
        gate,
        key_id=_secret(settings, "alpaca_key_id"),
        secret=_secret(settings, "alpaca_secret"),
        feed=chains.alpaca_feed,
        base_url=chains.alpaca_url,
        trading_url=chains.alpaca_trading_url,
    )


def _without_key(settings: Settings, name: str, gate: Gate) -> ChainSource:
    if name == "cboe":
        from spy_assets.market.sources.chains.cboe import CboeChains

        return CboeChains(gate, base_url=settings.chains.cboe_url)
    if name == "thetadata":
        from spy_assets.market.sources.chains.thetadata import ThetaDataChains

        return ThetaDataChains(gate, base_url=settings.chains.thetadata_url)
    from spy_assets.market.sources.chains.yahoo import YahooChains

    return YahooChains(gate, base_url=settings.http.yahoo_url)


def _secret(settings: Settings, name: str) -> str:
    found = getattr(settings, name)
    if found is None:
        raise ConfigError(
            f"SPY_{name.upper()} is not set", hint=f"the {settings.chain_source} chains need it"
        )
    return str(found.get_secret_value())
