"""The observation contract is what it says, and the docs say the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spy_assets.errors import ContractMismatch
from spy_assets.features.contracts import (
    CONTRACTS,
    DAILY_15_PROXY_V1,
    ObservationContract,
    get_contract,
    render_markdown,
    require_same,
)

DOCS = Path(__file__).resolve().parents[2] / "docs" / "features.md"


def test_order_of_the_vector() -> None:
    assert DAILY_15_PROXY_V1.names == (
        "price", "rsi14", "macd_hist", "iv", "iv_rank", "pcr", "volume_surge", "iv_skew",
        "gamma_proxy", "mom5", "balance", "has_position", "position_type", "unrealized_pnl",
        "holding_time",
    )  # fmt: skip
    assert DAILY_15_PROXY_V1.size == 15


def test_names_of_the_two_parts_make_the_whole() -> None:
    contract = DAILY_15_PROXY_V1
    assert contract.market_names + contract.portfolio_names == contract.names


def test_a_changed_word_changes_the_hash() -> None:
    price = replace(DAILY_15_PROXY_V1.market[0], scaling="none")
    other = replace(DAILY_15_PROXY_V1, market=(price, *DAILY_15_PROXY_V1.market[1:]))
    assert other.sha256 != DAILY_15_PROXY_V1.sha256
    with pytest.raises(ContractMismatch, match="the model expects"):
        require_same(other.sha256)


def test_the_same_hash_is_accepted() -> None:
    require_same(DAILY_15_PROXY_V1.sha256)
    assert get_contract("daily_15_proxy_v1") is DAILY_15_PROXY_V1


def test_an_unknown_contract_is_named() -> None:
    with pytest.raises(ContractMismatch, match="'daily_15_chain_v9'"):
        get_contract("daily_15_chain_v9")


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_docs_hold_the_rendered_contract(contract: ObservationContract) -> None:
    assert render_markdown(contract).rstrip("\n") in DOCS.read_text()
