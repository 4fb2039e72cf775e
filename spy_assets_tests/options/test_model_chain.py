"""The model's chain: labelled, possible, and worth the VIX that it was made of."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from spy_assets.errors import DataError
from spy_assets.options.chain import RawChain, clean_chain
from spy_assets.options.chain_analytics import analyse_chain
from spy_assets.options.chain_checks import parity
from spy_assets.options.model_chain import model_chain
from spy_assets.sessions import decision_time

DAY = date(2018, 6, 12)
MARKET = {"spot": 279.0, "rate": 0.02, "dividend_yield": 0.018}


def made(**points: float) -> RawChain:
    return model_chain(points, symbol="SPY", session=DAY, **MARKET)[0]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clean() -> pl.DataFrame:
    raw = made(VIX=13.0, VIX9D=12.0)
    found = clean_chain(raw, session=DAY, as_of=decision_time(DAY), symbol="SPY")
    assert found.quarantined.is_empty()
    return found.frame


def test_every_row_is_labelled_and_nothing_is_made_up(clean: pl.DataFrame) -> None:
    assert clean["quote_kind"].unique().to_list() == ["surface"]
    assert clean["source"].unique().to_list() == ["model"]
    for name in ("volume", "open_interest", "last", "bid_size", "vendor_iv"):
        assert clean[name].count() == 0


def test_parity_holds(clean: pl.DataFrame) -> None:
    assert parity(clean, rate=0.02, dividend_yield=0.018).passed


def test_the_volatility_goes_in_and_comes_out(clean: pl.DataFrame) -> None:
    _, fit = model_chain({"VIX": 13.0, "VIX9D": 12.0}, symbol="SPY", session=DAY, **MARKET)
    told = analyse_chain(clean, rate=0.02, dividend_yield=0.018, spot=279.0).contracts
    liquid = told.filter("is_otm", pl.col("bid") > 0.5, pl.col("years") > 0.05)
    k = (liquid["strike"] / liquid["forward"]).log().to_numpy()
    error = liquid["iv"].to_numpy() - fit.surface.iv(k, liquid["years"].to_numpy())
    assert abs(error).max() < 0.003  # quotes are rounded to cents


@pytest.mark.parametrize("symbol", ["QQQ", "IWM", "SPYG"])
def test_vix_says_nothing_of_another_index(symbol: str) -> None:
    with pytest.raises(DataError, match=f"S&P 500 and says nothing of {symbol}"):
        model_chain({"VIX": 13.0}, symbol=symbol, session=DAY, **MARKET)


def test_without_vix_there_is_none() -> None:
    with pytest.raises(DataError, match="from VIX None"):
        made(VIX9D=12.0)
