"""Sources of market data, one module per vendor, behind one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spy_assets.market.sources.base import Source

if TYPE_CHECKING:
    from spy_assets.settings import Settings

__all__ = ["Source", "open_source"]


def open_source(settings: Settings) -> Source:
    """The source that the settings name, with a fresh request budget.

    Raises
    ------
    ConfigError
        If the folder of the `files` source is missing or not laid out as docs/files-source.md says.
    """
    if settings.source == "sample":
        from spy_assets.market.sources.sample import SampleSource

        return SampleSource()
    if settings.source == "files":
        from spy_assets.market.sources.files import FilesSource

        return FilesSource.from_settings(settings)
    from spy_assets.market.sources.yahoo import YahooSource

    return YahooSource.from_settings(settings)
