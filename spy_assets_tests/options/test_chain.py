"""The canonical chain: symbols read in bulk, cleaning, quarantine with reasons."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaError

from spy_assets.errors import DataError, NaiveTimestamp, SchemaDrift
from spy_assets.market.schemas import QUARANTINE
from spy_assets.options.chain import (
    CHAIN_SCHEMA,
    QUOTE_COLUMNS,
    RawChain,
    as_chain,
    chain_schema,
    clean_chain,
    occ_columns,
    occ_of_fields,
    without_adjusted,
)
from spy_assets.options.contracts import parse_occ
from spy_assets.sessions import session_open
from spy_assets_tests.options.chains import (
    EVENING,
    SESSION,
    cleaned,
    model_chain,
    real_chain,
    spoil,
    with_saturdays,
)
from spy_assets_tests.options.test_contracts import contracts

CHAIN = model_chain()
OPEN = session_open(SESSION)


def read(*symbols: str) -> list[tuple[object, ...]]:
    return pl.DataFrame({"s": symbols}).select(occ_columns(pl.col("s"))).rows()


def reasons(frame: pl.DataFrame) -> list[str]:
    return sorted(cleaned(frame).quarantined["reason"])


@given(contracts, st.sampled_from(["occ", "compact", "polygon"]))
@settings(deadline=None, max_examples=50)
def test_symbols_read_in_bulk_are_those_read_one_by_one(contract, form):
    (row,) = read(getattr(contract, form))
    one = parse_occ(getattr(contract, form))
    assert row == (one.root, one.expiry, one.right, one.strike, one.occ, one.is_adjusted)


@given(st.one_of(st.text(max_size=24), st.from_regex(r"[A-Z]{1,6}[0-9]{5,7}[CPX][0-9]{7,9}")))
@settings(deadline=None, max_examples=50)
def test_what_is_no_symbol_is_null_in_bulk_and_refused_one_by_one(text):
    (row,) = read(text)
    try:
        parsed = parse_occ(text)
    except DataError:
        assert row == (None,) * 6
    else:
        assert row[4] == parsed.occ


@given(contracts)
@settings(deadline=None, max_examples=50)
def test_fields_spell_the_symbol(contract):
    fields = {name: [getattr(contract, name)] for name in ("root", "expiry", "right", "strike")}
    assert pl.DataFrame(fields).select(occ_of_fields()).item() == contract.occ


def test_a_complete_chain_passes_as_it_is():
    got = cleaned(CHAIN)
    assert got.frame.height == CHAIN.height
    assert got.quarantined.is_empty()
    assert dict(got.frame.schema) == CHAIN_SCHEMA
    assert dict(got.quarantined.schema) == QUARANTINE


def test_cleaning_is_idempotent():
    once = cleaned(spoil(CHAIN, 5, bid=-1.0)).frame
    assert cleaned(once).frame.equals(once)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"occ": None}, "bad_occ"),
        ({"occ": "SPY   240612C00000001"}, "bad_occ"),
        ({"strike": 0.0}, "bad_occ,bad_strike"),
        ({"strike": -5.0}, "bad_occ,bad_strike"),
        ({"strike": NAN}, "bad_occ,bad_strike"),
        ({"expiry": None}, "bad_occ,missing_key"),
        ({"right": "X"}, "bad_occ,bad_right"),
        ({"settlement": "noon"}, "bad_settlement"),
        ({"multiplier": 0}, "bad_multiplier"),
        ({"bid": NAN}, "not_finite"),
        ({"ask": INF}, "not_finite"),
        ({"last": -INF}, "negative_price,not_finite"),
        ({"bid": -0.01}, "negative_price"),
        ({"spot": -1.0}, "negative_price"),
        ({"bid_size": -1}, "negative_size"),
        ({"volume": -1}, "negative_count"),
        ({"open_interest": -7}, "negative_count"),
        ({"session": date(2024, 6, 11)}, "wrong_session"),
        ({"symbol": "QQQ"}, "wrong_symbol"),
        ({"quoted_at": EVENING + timedelta(seconds=1)}, "future"),
        ({"bid": None, "ask": None, "last": None, "open_interest": None}, "no_price"),
    ],
)
def test_one_bad_row_goes_to_quarantine_with_its_reason(values, reason):
    got = cleaned(spoil(CHAIN, 7, **values))
    assert got.quarantined.select("reason", "severity").rows() == [(reason, "error")]
    assert got.frame.height == CHAIN.height - 1
    assert got.quarantined["dataset"].item() == "option_chain"


BAD_QUOTES = [
    ({"bid": 900.0}, "crossed"),
    ({"quoted_at": OPEN - timedelta(microseconds=1)}, "stale"),
    ({"ask": 0.0, "quoted_at": OPEN - timedelta(days=1)}, "crossed,stale"),
]


@pytest.mark.parametrize(("values", "reason"), BAD_QUOTES)
def test_a_bad_quote_is_withheld_and_the_counts_stay(values, reason):
    spoiled = spoil(CHAIN, 57, vendor_iv=0.2, **values)
    got = cleaned(spoiled)
    assert got.quarantined.select("reason", "severity").rows() == [(reason, "warn")]
    kept = got.frame.row(by_predicate=pl.col("occ") == CHAIN["occ"][57], named=True)
    assert [kept[name] for name in QUOTE_COLUMNS] == [None] * len(QUOTE_COLUMNS)
    assert (kept["quoted_at"] is None) == ("stale" in reason)
    for name in ("volume", "open_interest", "last"):
        assert got.frame[name].sum() == CHAIN[name].sum()
    assert cleaned(got.frame).frame.equals(got.frame)


@pytest.mark.parametrize(("values", "reason"), BAD_QUOTES)
def test_a_bad_quote_without_sound_counts_takes_the_contract_along(values, reason):
    for other in ({"volume": None, "open_interest": None}, {"open_interest": -1}, {"strike": 0.0}):
        got = cleaned(spoil(CHAIN, 57, **{**values, **other}))
        assert got.quarantined["severity"].to_list() == ["error"]
        assert reason.split(",")[-1] in got.quarantined["reason"].item()
        assert got.frame.height == CHAIN.height - 1


@pytest.mark.parametrize("day", [date(2024, 12, 25), date(2027, 1, 2)])
def test_an_expiry_on_no_session_is_quarantined(day):
    got = cleaned(spoil(CHAIN, 7, expiry=day).with_columns(occ=occ_of_fields()))
    assert got.quarantined.select("reason", "severity").rows() == [("closed_expiry", "error")]
    assert got.frame.height == CHAIN.height - 1


def test_the_saturdays_of_old_symbols_are_sound():
    friday = date(2012, 1, 20)
    old = with_saturdays(model_chain(friday, spot=131.0))
    got = cleaned(old, session=friday, as_of=datetime(2012, 1, 20, 22, tzinfo=UTC))
    assert date(2012, 1, 21) in got.frame["expiry"]
    assert (got.frame.height, got.quarantined.height) == (old.height, 0)


def test_the_quarantined_row_can_be_read_back():
    payload = json.loads(cleaned(spoil(CHAIN, 7, bid=NAN)).quarantined["payload"].item())
    assert payload["bid"] == "nan"
    assert payload["occ"] == CHAIN["occ"][7]
    assert list(payload) == sorted({*CHAIN_SCHEMA} - {"available_at"})


def test_a_misread_year_is_quarantined():
    far = spoil(CHAIN, 7, expiry=date(2099, 6, 19))
    far = far.with_columns(occ=occ_of_fields())
    assert reasons(far) == ["bad_expiry"]


def test_what_the_adapter_could_not_read_is_quarantined_too():
    rejected = pl.DataFrame({"raw": ["SPY2406XX"], "reason": ["bad_occ"]})
    got = clean_chain(RawChain(CHAIN, rejected), session=SESSION, as_of=EVENING, symbol="SPY")
    assert got.quarantined.select("symbol", "reason", "payload").row(0) == (
        "SPY", "bad_occ", '{"raw": "SPY2406XX"}',
    )  # fmt: skip


def test_the_same_row_twice_is_one_row():
    got = cleaned(pl.concat([CHAIN, CHAIN.head(3)]))
    assert got.frame.height == CHAIN.height
    assert got.notes == ("3 repeated rows left out",)


def test_two_different_quotes_of_one_moment_are_both_refused():
    twin = CHAIN.slice(4, 1).with_columns(pl.col("bid") + 0.01)
    got = cleaned(pl.concat([CHAIN, twin]))
    assert got.quarantined["reason"].to_list() == ["duplicate_key"] * 2
    assert CHAIN["occ"][4] not in got.frame["occ"].to_list()


def test_of_two_moments_the_later_quote_counts():
    older = CHAIN.slice(4, 1).with_columns(
        pl.col("bid") / 2, quoted_at=pl.col("quoted_at") - timedelta(minutes=5)
    )
    got = cleaned(pl.concat([older, CHAIN]))
    assert got.quarantined.select("reason", "severity").rows() == [("superseded", "warn")]
    assert got.frame.sort("occ").equals(cleaned(CHAIN).frame.sort("occ"))


def test_vendor_greeks_that_are_no_numbers_become_null():
    got = cleaned(spoil(CHAIN, 2, vendor_iv=NAN, vendor_delta=INF))
    assert got.frame.height == CHAIN.height
    assert got.frame["vendor_iv"].null_count() == CHAIN.height


def test_a_quote_of_the_evening_is_as_fresh_as_the_market_was():
    night = CHAIN.with_columns(quoted_at=datetime(2024, 6, 13, 3, 0, tzinfo=UTC))
    as_of = datetime(2024, 6, 13, 12, tzinfo=UTC)
    assert cleaned(night, as_of=as_of).frame.height == CHAIN.height


def test_during_the_session_age_counts_from_now():
    noon = datetime(2024, 6, 12, 16, 0, tzinfo=UTC)
    live = model_chain(quoted_at=noon - timedelta(minutes=21))
    assert set(cleaned(live, as_of=noon).quarantined["reason"]) == {"stale"}


def test_a_quiet_quote_of_a_fresh_snapshot_keeps_its_numbers():
    quiet = spoil(CHAIN, 57, bid=0.0, ask=0.01, volume=None, open_interest=None, quoted_at=OPEN)
    got = cleaned(quiet)
    assert got.quarantined.is_empty()
    assert got.frame.sort("occ").equals(quiet.sort("occ"))


@pytest.mark.parametrize(("minutes", "stale"), [(20, 0), (21, CHAIN.height)])
def test_a_snapshot_is_as_old_as_its_newest_quote(minutes, stale):
    newest = datetime(2024, 6, 12, 20, 15, tzinfo=UTC) - timedelta(minutes=minutes)
    half = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit(OPEN)).otherwise(pl.lit(newest))
    got = cleaned(CHAIN.with_columns(quoted_at=half))
    assert got.quarantined["reason"].to_list() == ["stale"] * stale
    assert got.frame.height == CHAIN.height - stale


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"quoted_at": EVENING + timedelta(seconds=1)}, "future"),
        ({"quoted_at": EVENING, "symbol": "QQQ"}, "wrong_symbol"),
    ],
)
def test_a_bad_row_does_not_make_an_old_snapshot_fresh(odd, reason):
    old = CHAIN.with_columns(quoted_at=pl.lit(OPEN))
    got = cleaned(spoil(old, 57, **odd))
    assert got.frame.is_empty()
    assert set(got.quarantined["reason"]) == {"stale", reason}


def test_before_the_open_age_counts_from_now():
    asked = OPEN - timedelta(minutes=5)
    early = spoil(model_chain(quoted_at=asked), 57, quoted_at=asked - timedelta(minutes=20))
    assert cleaned(early, as_of=asked).quarantined.is_empty()
    late = spoil(early, 58, quoted_at=asked - timedelta(minutes=21))
    assert cleaned(late, as_of=asked).quarantined["reason"].to_list() == ["stale"]


@pytest.mark.parametrize(
    ("root", "multiplier", "settlement", "adjusted"),
    [
        ("SPY", None, "PM", False),
        ("SPY1", None, "PM", True),
        ("SPY", 100, "PM", False),
        ("SPY1", 100, "PM", True),
        ("SPX", None, "AM", False),
        ("SPXW", 100, "PM", False),
        ("SPY", 10, "PM", True),
    ],
)
def test_settlement_and_adjustment_follow_from_root_and_multiplier(
    root, multiplier, settlement, adjusted
):
    got = as_chain(pl.DataFrame({"root": [root]}), multiplier=multiplier).row(0, named=True)
    assert (got["settlement"], got["is_adjusted"]) == (settlement, adjusted)
    assert got["multiplier"] == (multiplier or (None if adjusted else 100))


def test_a_contract_that_is_told_to_be_adjusted_is_of_an_unknown_number_of_shares():
    got = as_chain(pl.DataFrame({"root": ["SPY"]}), is_adjusted=True).row(0, named=True)
    assert (got["multiplier"], got["is_adjusted"]) == (None, True)


def test_adjusted_contracts_can_be_left_out():
    chain = spoil(CHAIN, 3, is_adjusted=True)
    assert without_adjusted(chain).height == CHAIN.height - 1


def test_other_columns_are_refused_with_the_difference():
    with pytest.raises(SchemaDrift, match="missing columns \\['bid'\\], unknown columns \\['b'\\]"):
        cleaned(CHAIN.rename({"bid": "b"}))
    with pytest.raises(SchemaDrift, match="unknown columns \\['b'\\]"):
        as_chain(pl.DataFrame({"b": [1]}))
    with pytest.raises(SchemaDrift, match="does not fit"):
        cleaned(CHAIN.with_columns(bid=pl.lit("dear")))


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(NaiveTimestamp, match="quoted_at"):
        cleaned(CHAIN.with_columns(pl.col("quoted_at").dt.replace_time_zone(None)))


def test_the_schema_refuses_what_cleaning_should_have_taken_out():
    chain_schema().validate(CHAIN)
    with pytest.raises(SchemaError, match="negative_price"):
        chain_schema().validate(spoil(CHAIN, 3, bid=-1.0))


def test_an_empty_chain_stays_empty():
    assert cleaned(CHAIN.clear()).frame.is_empty()


def test_a_real_chain_is_clean(shared_data):
    raw = real_chain(shared_data, "2026-07-31")
    as_of = datetime(2026, 7, 31, 23, tzinfo=UTC)
    got = clean_chain(raw, session=date(2026, 7, 31), as_of=as_of, symbol="SPY")
    assert (got.frame.height, got.quarantined.height) == (14_398, 0)
