"""The folder of the `files` source: whichever vendor's drops lie under `chains/`.

Where several have a session, the first of these is taken: CBOE's delayed quotes (sizes, Greeks and
open interest at one moment), DataShop, OptionsDX (no open interest), Yahoo (no sizes, no Greeks).
A chain is never mixed from two.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path

from spy_assets.errors import NotProvided
from spy_assets.market.sources.chains.cboe import CboeFileChains
from spy_assets.market.sources.chains.datashop import DataShopChains
from spy_assets.market.sources.chains.drops import LineDrops
from spy_assets.market.sources.chains.optionsdx import OptionsDxChains
from spy_assets.market.sources.chains.protocol import ChainSource, opened_by
from spy_assets.market.sources.chains.yahoo import YahooFileChains
from spy_assets.options.chain import RawChain

NAME = "files"
_OF_LINES: tuple[type[LineDrops], ...] = (DataShopChains, OptionsDxChains)


def file_of_lines(path: Path) -> LineDrops | None:
    """The chains of one file of lines, as the vendor delivered it; None if it is no such vendor's.

    The vendor is told by the end of the file's name, and of several by its first line.
    """
    kinds = [kind for kind in _OF_LINES if path.suffix.lower() in kind.suffixes]
    if len(kinds) > 1:
        with path.open("rb") as file:
            header = file.readline(1_000).decode("utf-8", "replace").lower()
        kinds = [kind for kind in kinds if header.startswith(kind.first_column)]
    return kinds[0].of_file(path) if kinds else None


class FileChains:
    """All drops of a folder, by preference.

    Parameters
    ----------
    root
        The folder of files, as for the `files` source.
    """

    name = NAME

    def __init__(self, root: Path) -> None:
        self._root = root
        self.vendors: tuple[ChainSource, ...] = (
            CboeFileChains(root),
            DataShopChains(root),
            OptionsDxChains(root),
            YahooFileChains(root),
        )

    def sessions(self, symbol: str, *, now: datetime) -> Sequence[date]:
        """The sessions that any drop has."""
        found = [vendor.sessions(symbol, now=now) for vendor in self.vendors]
        return sorted({day for days in found for day in days})

    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """The chain of the first vendor that has the session; its name is in `source`.

        Raises
        ------
        NotProvided
            If no drop has it.
        """
        for vendor in self.vendors if opened_by([session], now) else ():
            with suppress(NotProvided):
                return vendor.chain(symbol, session, now=now)
        raise NotProvided(
            f"no chain of {symbol} in session {session} under {self._root / 'chains'}",
            hint="docs/chains.md says how drops are laid out",
        )
