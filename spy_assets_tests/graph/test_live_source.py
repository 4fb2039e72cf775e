"""`SPY_SOURCE=yfinance spy run`: the whole graph on a live source, over real sockets on loopback.

The server speaks Yahoo's chart JSON and FRED's CSV; prices are a seeded random walk up to the
last session that is decided now, so partitions, schedules and the running year are those of today.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from spy_assets import clock, sessions
from spy_assets.alerts import alerter
from spy_assets.defs.deciding import REFRESH_INCIDENT
from spy_assets.settings import load_settings
from spy_assets_tests.scripted_server import Asked, Reply, ScriptedServer
from spy_assets_tests.test_alerts import Webhook

FIRST = date(2023, 1, 1)
LEVEL = {"SPY": 450.0, "^VIX": 18.0, "^VIX9D": 17.0, "^VIX3M": 20.0, "^VVIX": 90.0, "^SKEW": 140.0}


def walk(symbol: str, days: list[date]) -> list[float]:
    """Closes of a symbol, the same on every call."""
    dice, level, closes = random.Random(symbol), LEVEL.get(symbol, 100.0), []
    anchor = math.log(level)
    value = anchor
    for _ in days:
        value += dice.gauss(0, 0.01) + (0.05 * (anchor - value) if symbol.startswith("^") else 0.0)
        closes.append(round(math.exp(value), 2))
    return closes


def chart(symbol: str, days: list[date]) -> dict[str, Any]:
    closes = walk(symbol, days)
    opens = [closes[0], *closes[:-1]]
    stamps = [int(sessions.session_open(day).timestamp()) for day in days]
    quote = {
        "open": opens,
        "high": [max(a, b) for a, b in zip(opens, closes, strict=True)],
        "low": [min(a, b) for a, b in zip(opens, closes, strict=True)],
        "close": closes,
        "volume": [1_000_000 + 1_000 * (index % 50) for index in range(len(days))],
    }
    period = {
        "timezone": "EST",
        "start": stamps[0],
        "end": stamps[0] + 23_400,
        "gmtoffset": -18_000,
    }
    meta = {
        "currency": "USD", "symbol": symbol, "instrumentType": "ETF", "gmtoffset": -18_000,
        "exchangeTimezoneName": "America/New_York", "timezone": "EST", "dataGranularity": "1d",
        "firstTradeDate": 728_317_800, "range": "", "validRanges": ["1d", "max"], "priceHint": 2,
        "currentTradingPeriod": dict.fromkeys(("pre", "regular", "post"), period),
        "tradingPeriods": [[period]],
    }  # fmt: skip
    result = {
        "meta": meta, "timestamp": stamps, "events": {},
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": closes}]},
    }  # fmt: skip
    return {"chart": {"result": [result], "error": None}}


@pytest.fixture(scope="module")
def vendors() -> Iterator[ScriptedServer]:
    """Yahoo and FRED on one loopback port."""
    last = sessions.last_decided_session(clock.utc_now())
    every = sessions.sessions_between(FIRST, last)

    def yahoo(asked: Asked) -> Reply:
        symbol = asked.path.rsplit("/", 1)[1].replace("%5E", "^")
        start, end = (float(asked.query.get(name, default)) for name, default in
                      (("period1", "0"), ("period2", "9e9")))  # fmt: skip
        days = [d for d in every if start <= sessions.session_open(d).timestamp() < end]
        body = chart(symbol, every)
        result = body["chart"]["result"][0]
        keep = [index for index, day in enumerate(every) if day in set(days)]
        result["timestamp"] = [result["timestamp"][i] for i in keep]
        for block in (result["indicators"]["quote"][0], result["indicators"]["adjclose"][0]):
            for name, values in block.items():
                block[name] = [values[i] for i in keep]
        return Reply(json.dumps(body), headers={"Content-Type": "application/json"})

    def fred(asked: Asked) -> Reply:
        series = asked.query["id"]
        rows = "".join(f"{day},4.5\n" for day in every)
        return Reply(f"observation_date,{series}\n{rows}", headers={"Content-Type": "text/csv"})

    server = ScriptedServer()
    server.rule("/v8/finance/chart", yahoo)
    server.rule("/graph/fredgraph.csv", fred)
    yield server
    server.close()


def environment(server: ScriptedServer, home: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SPY_")}
    return own | {
        "SPY_HOME": str(home), "SPY_SOURCE": "yfinance", "SPY_START_YEAR": str(FIRST.year),
        "SPY_SYMBOLS": '["SPY"]', "SPY_SIGNAL_SESSIONS": "5", "SPY_TRAIN__TIMESTEPS": "4096",
        "SPY_TRAIN__SEEDS": "1", "SPY_HTTP__YAHOO_URL": server.url, "SPY_HTTP__FRED_URL": server.url,
        "SPY_HTTP__BACKOFF_S": "0", "SPY_ENV_FILE": str(home / "no.env"), "NO_PROXY": "127.0.0.1",
    }  # fmt: skip


def spy_run(server: ScriptedServer, home: Path, **settings: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "spy_assets.cli", "run", "--json"],
        env=environment(server, home) | settings,
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@pytest.fixture(scope="module")
def yesterday(
    vendors: ScriptedServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A live profile as of the session before the last, and the summary of its run."""
    home = tmp_path_factory.mktemp("live")
    before = sessions.previous_session(sessions.last_decided_session(clock.utc_now()))
    return home, spy_run(vendors, home, SPY_AS_OF=before.isoformat())


def copied(home: Path, to: Path) -> Path:
    """The profile under another home."""
    shutil.copytree(home, to, dirs_exist_ok=True)
    yaml = to / ".spy" / "yfinance" / "dagster" / "dagster.yaml"
    yaml.write_text(yaml.read_text().replace(str(home), str(to)))
    return to


@pytest.mark.slow
def test_todays_signal_from_a_live_source(
    vendors: ScriptedServer, yesterday: tuple[Path, dict[str, Any]], tmp_path: Path
):
    last = sessions.last_decided_session(clock.utc_now())
    before = sessions.previous_session(last)
    home, first = yesterday
    copied(home, tmp_path)
    assert first["signal"]["session"] == before.isoformat()
    assert first["signal"]["probabilities"], first["signal"]["reasons"]
    # A day later only the running year is asked for, and the first model signals on the new session.
    vendors.asked.clear()
    today = spy_run(vendors, tmp_path)
    trained = {step["name"]: step["materialized"] for step in today["steps"]}
    assert trained["train and judge the model"] == 0
    assert today["signal"]["model_version"] == first["signal"]["model_version"] == "1"
    assert today["signal"]["probabilities"], today["signal"]["reasons"]
    assert today["signal"]["session"] == last.isoformat()
    assert today["signal"]["source"] == "yfinance"
    starts = [float(a.query["period1"]) for a in vendors.asked if a.path.endswith("/SPY")]
    assert min(starts) >= sessions.session_open(before).timestamp() - 15 * 86_400
    # Again: nothing is missing, so nothing is asked for, and the signal is the same.
    asked = vendors.count()
    again = spy_run(vendors, tmp_path)
    assert again["signal"]["signal_id"] == today["signal"]["signal_id"]
    assert again["materialized"] == 0
    assert vendors.count() == asked


def dead(webhook: Webhook) -> dict[str, str]:
    """Settings by which every vendor is a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    return {
        "SPY_HTTP__YAHOO_URL": url, "SPY_HTTP__FRED_URL": url, "SPY_HTTP__MAX_ATTEMPTS": "1",
        "SPY_ALERT_WEBHOOK": webhook.url,
    }  # fmt: skip


def told(line: str, session: date) -> None:
    """One document: the session's signal, which holds, and the outage."""
    body = json.loads(line)
    assert (body["signal"]["session"], body["signal"]["action_name"]) == (str(session), "HOLD")
    assert "source_outage" in " ".join(body["signal"]["reasons"])
    assert (body["error"]["type"], body["error"]["exit_code"]) == ("SourceUnavailable", 3)
    assert "market__daily_bars failed: " in body["error"]["message"]


@pytest.mark.slow
@pytest.mark.fault(39)
def test_an_outage_is_hold_and_one_alert_from_the_shell_too(
    vendors: ScriptedServer,
    yesterday: tuple[Path, dict[str, Any]],
    webhook: Webhook,
    tmp_path: Path,
):
    last = sessions.last_decided_session(clock.utc_now())
    home = copied(yesterday[0], tmp_path)
    away = environment(vendors, home) | dead(webhook)
    command = [sys.executable, "-m", "spy_assets.cli", "signal", "--json"]
    with subprocess.Popen(
        [*command, "--interval", "300"], env=away, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as loop:  # fmt: skip
        assert loop.stdout is not None
        told(loop.stdout.readline(), last)
        assert loop.poll() is None  # the outage is waited out
        loop.send_signal(signal.SIGTERM)
        err = loop.communicate(timeout=60)[1]
        assert loop.returncode == 130
    assert "yfinance" not in err.replace("yfinance: no answer", ""), err  # nor its crumbs
    once = subprocess.run(
        [*command, "--once"], env=away, capture_output=True, text=True, check=False
    )
    assert once.returncode == 3
    told(once.stdout, last)
    assert [one["title"] for one in webhook.received] == ["refresh_history failed"]
    open_now = alerter(load_settings(home=home, source="yfinance")).open_incidents
    assert [one["key"] for one in open_now()] == [REFRESH_INCIDENT]

    back = spy_run(vendors, home)
    assert back["signal"]["action_name"] == "HOLD"  # what was decided stands
    assert open_now() == []


@pytest.mark.slow
def test_an_outage_before_any_data_is_an_error_alone(webhook: Webhook, tmp_path: Path):
    settings = {"SPY_HOME": str(tmp_path), "SPY_SOURCE": "yfinance", "SPY_SYMBOLS": "SPY"}
    own = {name: value for name, value in os.environ.items() if not name.startswith("SPY_")}
    done = subprocess.run(
        [sys.executable, "-m", "spy_assets.cli", "run"],
        env=own | settings | dead(webhook) | {"SPY_ENV_FILE": "none"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "SourceUnavailable" in done.stderr
    assert "market__daily_bars failed" in done.stderr
    assert [one["title"] for one in webhook.received] == ["refresh_history failed"]
