"""CBOE DataShop's files: end of day in both snapshots, and intervals."""

from __future__ import annotations

import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from spy_assets.errors import WrongContent
from spy_assets.market.sources.chains.datashop import DataShopChains, Snapshot
from spy_assets.market.sources.chains.protocol import ChainSource
from spy_assets_tests.market.sources.chains.golden_files import check_golden
from spy_assets_tests.market.sources.chains.vendors import NOW, SESSION, body

EOD = "UnderlyingOptionsEODCalcs_2024-03-07.csv"


def drop(root: Path, text: str, name: str = EOD, snapshot: Snapshot = "eod") -> DataShopChains:
    folder = root / "chains" / "datashop" / "SPY"
    folder.mkdir(parents=True)
    (folder / name).write_text(text)
    return DataShopChains(root, snapshot=snapshot)


@pytest.mark.parametrize("snapshot", ["eod", "1545"])
def test_a_small_file_is_the_golden_chain(tmp_path: Path, snapshot: Snapshot) -> None:
    source = drop(tmp_path, body("datashop_eod.csv"), snapshot=snapshot)
    assert isinstance(source, ChainSource)
    check_golden(f"datashop_{snapshot}", source.chain("SPY", SESSION, now=NOW))


def test_of_intervals_the_last_moment_is_taken(tmp_path: Path) -> None:
    source = drop(tmp_path, body("datashop_interval.csv"), "UnderlyingOptionsIntervals.csv")
    check_golden("datashop_interval", source.chain("SPY", SESSION, now=NOW))


def test_a_zip_is_read_as_its_csv(tmp_path: Path) -> None:
    source = drop(tmp_path, "", "empty.txt")
    folder = tmp_path / "chains" / "datashop" / "SPY"
    with zipfile.ZipFile(folder / "UnderlyingOptionsEODCalcs_2024-03-07.zip", "w") as archive:
        archive.writestr(EOD, body("datashop_eod.csv"))
    check_golden("datashop_eod", source.chain("SPY", SESSION, now=NOW))


def test_before_2020_the_file_has_no_calcs(tmp_path: Path) -> None:
    lines = [line.split(",") for line in body("datashop_eod.csv").splitlines()]
    without = "\n".join(",".join(line[:17] + line[25:]) for line in lines)
    frame = drop(tmp_path, without, snapshot="1545").chain("SPY", SESSION, now=NOW).frame
    assert frame["bid"].to_list() == [5.0, 0.0, 0.05]
    assert frame["vendor_iv"].is_null().all()


def test_on_a_half_day_the_first_snapshot_is_earlier(tmp_path: Path) -> None:
    text = body("datashop_eod.csv").replace("2024-03-07", "2024-11-29")
    source = drop(tmp_path, text, "a.csv", "1545")
    frame = source.chain("SPY", date(2024, 11, 29), now=datetime(2024, 12, 1, tzinfo=UTC)).frame
    assert frame["quoted_at"][0] == datetime(2024, 11, 29, 17, 45, tzinfo=UTC)


@pytest.mark.fault(35)
def test_a_page_that_is_called_zip_is_refused(tmp_path: Path) -> None:
    source = drop(tmp_path, "<html>Log in</html>", "UnderlyingOptionsEOD_2024-03-07.zip")
    with pytest.raises(WrongContent, match="not a zip"):
        source.chain("SPY", SESSION, now=NOW)
