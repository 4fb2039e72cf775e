"""Every vendor's small body gives exactly the canonical chain on disk."""

from __future__ import annotations

import pytest

from spy_assets.errors import NotProvided
from spy_assets.market.sources.chains import ChainSource
from spy_assets.market.sources.http import Gate
from spy_assets.options.chain import CHAIN_SCHEMA
from spy_assets.sessions import next_session, previous_session
from spy_assets_tests.market.sources.chains.golden_files import check_golden
from spy_assets_tests.market.sources.chains.servers import RecordingServer
from spy_assets_tests.market.sources.chains.vendors import NOW, SESSION, VENDORS, Vendor

every_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)


@every_vendor
def test_a_small_chain_is_the_golden_one(
    server: RecordingServer, gate: Gate, vendor: Vendor
) -> None:
    vendor.serve(server)
    check_golden(vendor.name, vendor.ask(gate, server))


@every_vendor
def test_vendors_fit_the_protocol(server: RecordingServer, gate: Gate, vendor: Vendor) -> None:
    source = vendor.open(gate, server.url)
    assert isinstance(source, ChainSource)
    assert source.name == vendor.name
    assert source.sessions("SPY", now=NOW)[-1] == SESSION


@every_vendor
def test_sessions_to_come_are_refused_without_a_request(
    server: RecordingServer, gate: Gate, vendor: Vendor
) -> None:
    source = vendor.open(gate, server.url)
    with pytest.raises(NotProvided, match="2024-03-08"):
        source.chain("SPY", next_session(SESSION), now=NOW)
    assert server.asked == []


@pytest.mark.parametrize("vendor", VENDORS[:-1], ids=lambda vendor: vendor.name)
def test_vendors_of_snapshots_have_no_past(
    server: RecordingServer, gate: Gate, vendor: Vendor
) -> None:
    source = vendor.open(gate, server.url)
    with pytest.raises(NotProvided, match=r"snapshots only.*session 2024-03-07, not 2024-03-06"):
        source.chain("SPY", previous_session(SESSION), now=NOW)


@every_vendor
def test_missing_numbers_are_null_and_a_zero_bid_is_zero(
    server: RecordingServer, gate: Gate, vendor: Vendor
) -> None:
    vendor.serve(server)
    put = vendor.ask(gate, server).frame.filter(occ="SPY   240308P00450000").row(0, named=True)
    assert put["bid"] == 0.0
    assert put["vendor_iv"] is None
    assert put["vendor_delta"] is None
    assert list(put) == list(CHAIN_SCHEMA)
