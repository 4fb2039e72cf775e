"""Faults of chain vendors, injected on the wire: every vendor meets every one of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from spy_assets.alerts import alerter
from spy_assets.defs import chains, sensors
from spy_assets.errors import (
    BudgetExceeded,
    EmptyResponse,
    ForbiddenRedirect,
    SchemaDrift,
    SourceUnavailable,
    WrongContent,
)
from spy_assets.market.sources.chains.cboe import read_delayed_quotes
from spy_assets.market.sources.http import Gate, RequestBudget
from spy_assets.options.carry import Carry
from spy_assets.options.chain import clean_chain
from spy_assets.plan import RunFailed
from spy_assets.settings import HttpSettings, Settings, load_settings
from spy_assets.warehouse import TABLES, Warehouse, WriteResult
from spy_assets_tests.faults.test_system_faults import tell
from spy_assets_tests.graph.test_options import BODY, DAY, cboe_rows, payload_time
from spy_assets_tests.graph.worlds import make, read
from spy_assets_tests.market.sources.chains.golden_files import text_of
from spy_assets_tests.market.sources.chains.servers import RecordingServer
from spy_assets_tests.market.sources.chains.vendors import (
    BY_NAME,
    KEY,
    NOW,
    SECRET,
    SESSION,
    VENDORS,
    Vendor,
    body,
    delayed_quotes,
)
from spy_assets_tests.scripted_server import Asked, Reply
from spy_assets_tests.test_alerts import Webhook

every_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
paged = pytest.mark.parametrize("name", ["polygon", "alpaca", "tradier", "yfinance", "thetadata"])


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    from yfinance.data import YfData

    recording = RecordingServer()
    YfData.cache_get.cache_clear()
    yield recording
    recording.close()


def spoil(server: RecordingServer, vendor: Vendor, *faults: Reply) -> None:
    """Serve the vendor's bodies, with faults on the pages of its chain first."""
    vendor.serve(server)
    server.fail(*faults, where=lambda path: path.startswith(vendor.pages))


def good(vendor: Vendor, gate: Gate) -> str:
    """What the vendor's chain is without a fault."""
    calm = RecordingServer()
    try:
        vendor.serve(calm)
        return text_of(vendor.ask(gate, calm))
    finally:
        calm.close()


@pytest.mark.fault(30)
def test_a_bad_occ_symbol_is_set_aside_and_the_rest_is_kept(
    server: RecordingServer, gate: Gate
) -> None:
    vendor = BY_NAME["cboe"]
    vendor.serve(server)
    chain = vendor.ask(gate, server)
    assert chain.rejected.rows() == [("SPY24X315P00450000", "bad_occ")]
    assert chain.frame.height == 4


@pytest.mark.fault(32)
@every_vendor
def test_429_is_retried_after_the_pause_asked_for(
    server: RecordingServer, gate: Gate, pauses: list[float], vendor: Vendor
) -> None:
    spoil(server, vendor, Reply(status=429, headers={"Retry-After": "7"}))
    assert text_of(vendor.ask(gate, server)) == good(vendor, gate)
    assert pauses == [7.0]


@pytest.mark.fault(32)
@every_vendor
def test_the_budget_ends_the_asking(server: RecordingServer, vendor: Vendor) -> None:
    spoil(server, vendor, *[Reply(status=429)] * 20)
    policy = HttpSettings(max_attempts=20, budget=99)
    gate = Gate(policy, RequestBudget(4), sleep=lambda _: None)
    with pytest.raises(BudgetExceeded, match="budget of 4 requests"):
        vendor.ask(gate, server)


@pytest.mark.fault(33)
@every_vendor
@pytest.mark.parametrize("fault", [Reply(reset=True), Reply(status=500)], ids=["reset", "500"])
def test_resets_and_500_are_retried(
    server: RecordingServer, gate: Gate, pauses: list[float], vendor: Vendor, fault: Reply
) -> None:
    spoil(server, vendor, fault, fault)
    assert text_of(vendor.ask(gate, server)) == good(vendor, gate)
    assert pauses == [1.0, 2.0]


@pytest.mark.fault(33)
@every_vendor
def test_a_time_out_is_retried(
    server: RecordingServer, gate: Gate, pauses: list[float], vendor: Vendor
) -> None:
    spoil(server, vendor, Reply("{}", wait_s=0.8))
    assert text_of(vendor.ask(gate, server)) == good(vendor, gate)
    assert pauses == [1.0]


@pytest.mark.fault(34)
@every_vendor
def test_an_empty_200_is_never_an_empty_chain(
    server: RecordingServer, gate: Gate, vendor: Vendor
) -> None:
    spoil(server, vendor, *[Reply(" \n")] * 20)
    with pytest.raises(EmptyResponse, match="empty body"):
        vendor.ask(gate, server)


@pytest.mark.fault(34)
@every_vendor
def test_json_without_a_contract_is_never_an_empty_chain(
    server: RecordingServer, gate: Gate, vendor: Vendor
) -> None:
    spoil(server, vendor, *[Reply(vendor.empty)] * 20)
    with pytest.raises(EmptyResponse, match=r"not one|is None"):
        vendor.ask(gate, server)


@pytest.mark.fault(35)
@every_vendor
def test_html_is_refused(server: RecordingServer, gate: Gate, vendor: Vendor) -> None:
    spoil(server, vendor, *[Reply("<!DOCTYPE html><p>Log in")] * 20)
    with pytest.raises(WrongContent, match="HTML where JSON was due"):
        vendor.ask(gate, server)


def renamed(vendor: Vendor, asked: Asked, server: RecordingServer) -> Reply:
    """The vendor's own body with one of its fields renamed."""
    reply = server._rules[max((p for p in server._rules if asked.path.startswith(p)), key=len)]
    own = reply(asked) if callable(reply) else reply[0]
    return Reply(str(own.body).replace(vendor.field, vendor.field[:-1] + 'x"'))


@pytest.mark.fault(36)
@every_vendor
def test_a_renamed_field_is_drift_and_shown(
    server: RecordingServer, gate: Gate, vendor: Vendor
) -> None:
    calm = RecordingServer()
    vendor.serve(calm)
    vendor.serve(server)
    server.rule(vendor.pages, lambda asked: renamed(vendor, asked, calm))
    for prefix in [p for p in server._rules if p.startswith(vendor.pages) and p != vendor.pages]:
        server.rule(prefix, lambda asked: renamed(vendor, asked, calm))
    name = vendor.field.strip('"')
    with pytest.raises(SchemaDrift, match=f"new .*'{name}x'"):
        vendor.ask(gate, server)
    calm.close()


@pytest.mark.fault(37)
@every_vendor
def test_cut_off_json_is_asked_for_again(
    server: RecordingServer, gate: Gate, vendor: Vendor
) -> None:
    spoil(server, vendor, Reply('{"rows": [1, 2'), Reply('{"ok": 1, "more": 2}', cut=8))
    assert text_of(vendor.ask(gate, server)) == good(vendor, gate)


@pytest.mark.fault(37)
@every_vendor
def test_json_that_never_ends_is_an_error(
    server: RecordingServer, gate: Gate, vendor: Vendor
) -> None:
    spoil(server, vendor, *[Reply('{"rows": [1, 2')] * 20)
    with pytest.raises(WrongContent, match="14 bytes that are not JSON"):
        vendor.ask(gate, server)


def page(asked: Asked) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Which page was asked for; yfinance adds a crumb once it has one."""
    return asked.path, tuple((n, v) for n, v in asked.query.items() if n != "crumb")


def of_the_chain(asked: Asked, vendor: Vendor) -> bool:
    return asked.path.startswith(vendor.pages.rsplit("/at_time", 1)[0])


@pytest.mark.fault(38)
@paged
def test_after_a_partial_success_only_the_failed_page_is_asked_again(
    server: RecordingServer, gate: Gate, name: str
) -> None:
    vendor = BY_NAME[name]
    whole = good(vendor, gate)
    calm = RecordingServer()
    vendor.serve(calm)
    vendor.ask(gate, calm)
    calm.close()
    due = [page(asked) for asked in calm.asked if of_the_chain(asked, vendor)]
    failed = due[-1]

    vendor.serve(server)
    seen: list[object] = []

    def once(path: str) -> bool:
        key = page(server.asked[-1])
        first = key == failed and key not in seen
        seen.append(key)
        return first

    server.fail(Reply(status=404, body="not now"), where=once)
    assert text_of(vendor.ask(gate, server)) == whole
    again = [page(asked) for asked in server.asked if of_the_chain(asked, vendor)]
    assert sorted(again) == sorted([*due, failed])


@pytest.mark.fault(39)
@every_vendor
def test_an_outage_longer_than_the_limit_is_unavailable(
    server: RecordingServer, gate: Gate, vendor: Vendor
) -> None:
    spoil(server, vendor, *[Reply(status=503)] * 20)
    with pytest.raises(SourceUnavailable, match=r"HTTP 503 \(after 3 attempts\)"):
        vendor.ask(gate, server)


@pytest.mark.slow
@pytest.mark.fault(39)
def test_an_outage_of_the_chains_is_one_alert_and_the_next_run_recovers(
    server: RecordingServer, webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPY_ALERT_WEBHOOK", webhook.url)
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)
    settings = load_settings(
        home=tmp_path,
        chains={"source": "cboe", "cboe_url": server.url},
        http={"max_attempts": 2, "backoff_s": 0.0},
    )
    server.on(BODY, Reply(status=503))
    moment = payload_time(DAY)
    for _ in range(2):
        with pytest.raises(RunFailed, match="HTTP 503"):
            make(settings, "refresh_chain", [f"{DAY}|SPY"], now=moment)
        tell(settings, sensors.run_failed, dg.DagsterEventType.RUN_FAILURE)
    assert [one["title"] for one in webhook.received] == ["refresh_chain failed"]

    rows = cboe_rows(DAY)
    server.on(BODY, Reply(delayed_quotes(rows, moment)))
    make(settings, "refresh_chain", [f"{DAY}|SPY"], now=moment)
    tell(settings, sensors.run_recovered, dg.DagsterEventType.RUN_SUCCESS)
    assert read(settings, chains.QUOTES).height == rows.height
    assert len(webhook.received) == 1
    assert alerter(settings).open_incidents() == []


def stored(settings: Settings, options: list[dict[str, object]], now: datetime) -> WriteResult:
    """Read, clean and write an answer of CBOE, as the asset does."""
    answer = json.loads(body("cboe.json"))
    answer["data"]["options"] = options
    raw = read_delayed_quotes(answer, "SPY", SESSION, available_at=now)
    cleaned = clean_chain(raw, session=SESSION, as_of=now, symbol="SPY")
    rows = chains.rows_of(chains.analyse(cleaned.frame, Carry(None, None)))
    with Warehouse.open(settings) as lake:
        return lake.write(TABLES[chains.QUOTES], rows, ingested_at=now)


@pytest.mark.fault(20)
@pytest.mark.fault(28)
def test_contracts_that_a_later_answer_lacks_stay_as_they_were(settings: Settings) -> None:
    options = json.loads(body("cboe.json"))["data"]["options"]
    first = stored(settings, options, NOW)
    before = read(settings, chains.QUOTES)
    later = NOW + timedelta(hours=1)
    changed = {**options[0], "bid": options[0]["bid"] - 0.5}
    second = stored(settings, [changed], later)
    assert (first.inserted, second.inserted, second.revised) == (before.height, 0, 1)
    after = read(settings, chains.QUOTES)
    assert after["occ"].to_list() == before["occ"].to_list()
    moved = changed["option"].removeprefix("SPY")
    kept = ~after["occ"].str.ends_with(moved)
    assert after.filter(kept).equals(before.filter(kept))
    assert after.filter(~kept)["bid"].to_list() == [changed["bid"]]
    with Warehouse.open(settings, read_only=True) as lake:
        assert lake.read(chains.QUOTES, as_of=NOW).equals(before)


@pytest.mark.fault(40)
@every_vendor
@pytest.mark.parametrize("target", ["http://169.254.169.254/meta", "file:///etc/passwd"])
def test_redirects_to_private_addresses_are_refused(
    server: RecordingServer, gate: Gate, vendor: Vendor, target: str
) -> None:
    spoil(server, vendor, *[Reply(status=302, headers={"Location": target})] * 20)
    with pytest.raises(ForbiddenRedirect, match=r"not public|not HTTP"):
        vendor.ask(gate, server)


@pytest.mark.fault(40)
@pytest.mark.parametrize("name", ["polygon", "alpaca", "tradier"])
def test_no_key_follows_a_redirect_to_another_host(
    server: RecordingServer, gate: Gate, name: str
) -> None:
    elsewhere = RecordingServer()
    spoil(server, BY_NAME[name], Reply(status=302, headers={"Location": f"{elsewhere.url}/x"}))
    with pytest.raises(ForbiddenRedirect, match="the key is not sent there"):
        BY_NAME[name].ask(gate, server)
    elsewhere.close()
    assert elsewhere.asked == []


@pytest.mark.parametrize("name", ["polygon", "alpaca", "tradier"])
def test_logs_and_errors_hold_no_key(
    server: RecordingServer, gate: Gate, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    spoil(server, BY_NAME[name], Reply(status=500), Reply(status=403, body=f"{KEY} {SECRET}"))
    server.on("/", Reply(status=403, body=f"{KEY} {SECRET}"))
    spoiled = [Reply(status=500), *[Reply(status=403, body=f"{KEY} {SECRET}")] * 9]
    server.fail(*spoiled, where=lambda path: path.startswith(BY_NAME[name].pages))
    with pytest.raises(SourceUnavailable) as told:
        BY_NAME[name].ask(gate, server)
    shown = f"{told.value!r} {told.value} {told.value.__cause__!r} {caplog.text}"
    assert KEY not in shown
    assert "attempt 1 failed" in caplog.text
