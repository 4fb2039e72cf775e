"""The retry and validation layer, against a real server."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest

from spy_assets.clock import utc_now
from spy_assets.errors import (
    BudgetExceeded,
    EmptyResponse,
    ForbiddenRedirect,
    SchemaDrift,
    SourceUnavailable,
    WrongContent,
)
from spy_assets.market.schemas import require_names
from spy_assets.market.sources.http import (
    Gate,
    HttpClient,
    RequestBudget,
    check_redirect,
    gather,
    is_loopback,
    one_by_one,
    redact,
)
from spy_assets.settings import HttpSettings
from spy_assets_tests.scripted_server import Reply, ScriptedServer

GOOD = Reply('{"ok": 1}')
Pauses = list[float]


def ask(server: ScriptedServer, gate: Gate) -> object:
    with HttpClient(server.url, gate) as client:
        return client.get_json("/data", {"id": "SPY"})


@pytest.mark.fault(32)
def test_429_is_retried_after_the_pause_asked_for(
    server: ScriptedServer, gate: Gate, pauses: Pauses
) -> None:
    server.on("/data", Reply(status=429, headers={"Retry-After": "7"}), GOOD)
    assert ask(server, gate) == {"ok": 1}
    assert pauses == [7.0]
    assert gate.budget.spent == 2


@pytest.mark.fault(32)
def test_retry_after_may_be_a_date(server: ScriptedServer, gate: Gate, pauses: Pauses) -> None:
    later = format_datetime(utc_now() + timedelta(seconds=20), usegmt=True)
    server.on("/data", Reply(status=503, headers={"Retry-After": later}), GOOD)
    ask(server, gate)
    assert 15.0 < pauses[0] <= 20.0


@pytest.mark.fault(32)
def test_the_budget_counts_retries(server: ScriptedServer) -> None:
    server.on("/data", Reply(status=429))
    budget = RequestBudget(2)
    gate = Gate(HttpSettings(max_attempts=5, budget=99), budget, sleep=lambda _: None)
    with pytest.raises(BudgetExceeded, match="budget of 2 requests"):
        ask(server, gate)
    assert server.count() == 2


@pytest.mark.fault(33)
@pytest.mark.parametrize("fault", [Reply(reset=True), Reply("{}", wait_s=1.0)])
def test_resets_and_time_outs_are_retried(
    server: ScriptedServer, gate: Gate, pauses: Pauses, fault: Reply
) -> None:
    server.on("/data", fault, fault, GOOD)
    assert ask(server, gate) == {"ok": 1}
    assert pauses == [1.0, 2.0]


@pytest.mark.fault(33)
def test_a_server_that_is_not_there_is_unavailable(gate: Gate) -> None:
    with (
        HttpClient("http://127.0.0.1:9", gate) as client,
        pytest.raises(SourceUnavailable, match=r"ConnectError.*after 3 attempts"),
    ):
        client.get_json("/data", {})


@pytest.mark.fault(34)
def test_an_empty_200_is_an_error_at_once(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data", Reply("  \n"))
    with pytest.raises(EmptyResponse, match="empty body"):
        ask(server, gate)
    assert server.count() == 1


@pytest.mark.fault(35)
@pytest.mark.parametrize("body", ["<!DOCTYPE html><p>Log in", "\n <HTML><body>blocked"])
def test_html_is_refused(server: ScriptedServer, gate: Gate, body: str) -> None:
    server.on("/data", Reply(body))
    with pytest.raises(WrongContent, match="HTML where JSON was due"):
        ask(server, gate)


@pytest.mark.fault(35)
def test_html_is_refused_as_csv_too(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data", Reply("<html><table>a,b</table></html>"))
    with HttpClient(server.url, gate) as client, pytest.raises(WrongContent, match="CSV was due"):
        client.get_csv("/data", {}, ["a", "b"])


@pytest.mark.fault(36)
@pytest.mark.parametrize(
    ("header", "difference"),
    [
        ("date,valeu", r"missing \['value'\], new \['valeu'\], renamed\? \['value -> valeu'\]"),
        ("date,value,flag", r"missing \[\], new \['flag'\]"),
        ("date", r"missing \['value'\], new \[\]"),
    ],
)
def test_changed_columns_are_refused(
    server: ScriptedServer, gate: Gate, header: str, difference: str
) -> None:
    server.on("/data", Reply(f"{header}\n"))
    with HttpClient(server.url, gate) as client, pytest.raises(SchemaDrift, match=difference):
        client.get_csv("/data", {}, ["date", "value"])


@pytest.mark.fault(37)
def test_truncated_json_is_retried(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data", Reply('{"rows": [1, 2'), GOOD)
    assert ask(server, gate) == {"ok": 1}
    assert server.count() == 2


@pytest.mark.fault(37)
def test_a_body_shorter_than_announced_is_retried(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data", Reply('{"ok": 1, "more": 2}', cut=8), GOOD)
    assert ask(server, gate) == {"ok": 1}


@pytest.mark.fault(37)
def test_json_that_never_ends_is_wrong_content(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data", Reply('{"rows": [1, 2'))
    with pytest.raises(WrongContent, match="14 bytes that are not JSON"):
        ask(server, gate)
    assert server.count() == 3


@pytest.mark.fault(38)
def test_only_failed_keys_are_asked_again(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data/B", Reply(status=404), GOOD)
    server.on("/data", GOOD)
    with HttpClient(server.url, gate) as client:
        got = gather(
            ["A", "B", "C"], one_by_one(lambda key: client.get_json(f"/data/{key}", {})), what="x"
        )
    assert list(got) == ["A", "B", "C"]
    assert [server.count(f"/data/{key}") for key in "ABC"] == [1, 2, 1]


@pytest.mark.fault(38)
def test_keys_that_keep_failing_are_named(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data/B", Reply(status=404, body="unknown symbol"))
    server.on("/data", GOOD)
    with (
        HttpClient(server.url, gate) as client,
        pytest.raises(SourceUnavailable, match=r"no answer for \['B'\] of 2 keys.*unknown symbol"),
    ):
        gather(["A", "B"], one_by_one(lambda key: client.get_json(f"/data/{key}", {})), what="x")


@pytest.mark.fault(39)
def test_an_outage_longer_than_the_limit_is_unavailable(
    server: ScriptedServer, gate: Gate, pauses: Pauses
) -> None:
    server.on("/data", Reply(status=503))
    with pytest.raises(SourceUnavailable, match=r"HTTP 503 \(after 3 attempts\)"):
        ask(server, gate)
    assert pauses == [1.0, 2.0]


@pytest.mark.fault(39)
def test_a_pause_longer_than_the_limit_is_not_waited_for(
    server: ScriptedServer, gate: Gate, pauses: Pauses
) -> None:
    server.on("/data", Reply(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(SourceUnavailable, match="asks to wait 3600 s"):
        ask(server, gate)
    assert (pauses, server.count()) == ([], 1)


@pytest.mark.fault(40)
@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/meta", "http://10.0.0.8/", "file:///etc"]
)
def test_redirects_to_private_addresses_are_refused(
    server: ScriptedServer, gate: Gate, target: str
) -> None:
    server.on("/data", Reply(status=302, headers={"Location": target}))
    with pytest.raises(ForbiddenRedirect, match=r"not public|not HTTP"):
        ask(server, gate)


@pytest.mark.fault(40)
@pytest.mark.parametrize("target", ["http://127.0.0.1/", "http://[::1]/", "http://192.168.1.1/"])
def test_a_public_vendor_may_not_redirect_to_this_machine(target: str) -> None:
    with pytest.raises(ForbiddenRedirect, match="not public"):
        check_redirect("https://93.184.216.34", target)


def test_a_local_vendor_may_redirect_to_itself(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data", Reply(status=301, headers={"Location": "/elsewhere"}))
    server.on("/elsewhere", GOOD)
    assert ask(server, gate) == {"ok": 1}


def test_endless_redirects_end(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data", Reply(status=302, headers={"Location": "/data"}))
    with pytest.raises(SourceUnavailable, match="more than 5 redirects"):
        ask(server, gate)


def test_other_errors_are_not_retried(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data", Reply(status=403, body="bad api_key=hunter2"))
    with pytest.raises(SourceUnavailable, match=r"HTTP 403: 'bad api_key=\*\*\*'"):
        ask(server, gate)
    assert server.count() == 1


def test_a_ragged_csv_is_refused(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data", Reply("a,b\n1,2\n3"))
    with (
        HttpClient(server.url, gate) as client,
        pytest.raises(WrongContent, match="without 2 fields"),
    ):
        client.get_csv("/data", {}, ["a", "b"])


def test_csv_comes_as_strings(server: ScriptedServer, gate: Gate) -> None:
    server.on("/data", Reply("\ufeffa,b\r\n1,.\r\n"))
    with HttpClient(server.url, gate) as client:
        assert client.get_csv("/data", {}, ["a", "b"]).rows() == [("1", ".")]


@pytest.mark.parametrize("name", ["api_key", "apikey", "token", "crumb"])
def test_secrets_are_redacted(name: str) -> None:
    assert redact(f"https://x/?a=1&{name}=s3cret&b=2") == f"https://x/?a=1&{name}=***&b=2"


def test_loopback_is_known() -> None:
    assert is_loopback("http://127.0.0.1:8000")
    assert not is_loopback("https://93.184.216.34")


def test_equal_names_pass_in_any_order() -> None:
    require_names(["b", "a"], ["a", "b"], "x")
    with pytest.raises(SchemaDrift):
        require_names([], ["a"], "x")
