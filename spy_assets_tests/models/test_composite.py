from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError, ContractMismatch, ModelFileMismatch
from spy_assets.evaluation.backtest import Venue, greedy, run_policy
from spy_assets.features.contracts import DAILY_15_CHAIN_V1
from spy_assets.features.regime import REGIMES
from spy_assets.models.composite import (
    CompositePolicy,
    CompositeWeights,
    RouterRule,
    Rule,
    VoteRule,
    decode_composite,
    encode_composite,
    load_policy,
)
from spy_assets.models.ensemble import normalised
from spy_assets.models.policy.asking import UNKNOWN, DecisionContext, ask
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.weights import (
    FileIdentity,
    PolicyWeights,
    decode_weights,
    encode_weights,
)
from spy_assets.models.routing import FALLBACK, path_regimes
from spy_assets.simulator.actions import HOLD
from spy_assets_tests.models.planted import planted_market
from spy_assets_tests.models.policies import (
    ALL,
    CONTRACT,
    MIDDLE,
    random_net,
    random_tensors,
)

FLAT = np.array([1, 1, 1, 1, 1, 1, 0], dtype=bool)
TWO = VoteRule({"ppo_daily": 0.7, "a2c_daily": 0.3}, 0.6)


def weights_of(seed: int, contract: Any = CONTRACT, **how: Any) -> PolicyWeights:
    return decode_weights(encode_weights(random_tensors(seed), contract, **how))


def composite(rule: Rule, **members: int) -> CompositeWeights:
    """Members by name, each of a seed."""
    return CompositeWeights({name: weights_of(seed) for name, seed in members.items()}, rule)


VOTE = composite(TWO, ppo_daily=1, a2c_daily=2)
ROUTER = composite(RouterRule(), strong_uptrend=3, neutral=4)


def saved(path: Path, weights: CompositeWeights) -> FileIdentity:
    data = encode_composite(weights, CONTRACT)
    path.write_bytes(data)
    return FileIdentity.of(data)


@st.composite
def votes(draw: st.DrawFn) -> CompositeWeights:
    """Votes of one to four small members with any weights."""
    names = draw(
        st.lists(st.text("abc_dé.", min_size=1, max_size=5), min_size=1, max_size=4, unique=True)
    )
    raw = draw(st.lists(st.floats(0.01, 1), min_size=len(names), max_size=len(names)))
    shares = normalised(dict(zip(names, raw, strict=True)))
    seeds = {name: draw(st.integers(0, 99)) for name in names}
    members = {
        name: decode_weights(
            encode_weights(
                random_tensors(seed, hidden=3),
                CONTRACT,
                activation=draw(st.sampled_from(["tanh", "relu"])),
            )
        )
        for name, seed in seeds.items()
    }
    return CompositeWeights(members, VoteRule(shares, draw(st.floats(0, 1))))


@settings(deadline=None, max_examples=40)
@given(votes())
def test_a_round_trip_keeps_members_rule_and_hash(given_: CompositeWeights) -> None:
    data = encode_composite(given_, CONTRACT)
    found = decode_composite(data)
    assert found.rule == given_.rule
    assert (list(found.members), found.policy_hash) == (list(given_.members), given_.policy_hash)
    assert encode_composite(found, CONTRACT) == data
    before, after = (CompositePolicy.from_weights(one).probabilities for one in (given_, found))
    assert np.array_equal(before(MIDDLE, FLAT), after(MIDDLE, FLAT))


def test_equal_members_and_rules_are_equal_bytes() -> None:
    """Neither the order of the members nor what their trainings said of themselves is in the file."""
    other = CompositeWeights(
        {"a2c_daily": weights_of(2, extra={"seed": 42}), "ppo_daily": weights_of(1)},
        VoteRule({"a2c_daily": 0.3, "ppo_daily": 0.7}, 0.6),
    )
    assert encode_composite(other, CONTRACT) == encode_composite(VOTE, CONTRACT)
    assert other.policy_hash == VOTE.policy_hash


def test_the_hash_sees_members_their_names_and_the_rule() -> None:
    changed = [
        VOTE,
        ROUTER,
        composite(TWO, ppo_daily=1, a2c_daily=3),
        composite(TWO, ppo_daily=2, a2c_daily=1),
        replace(VOTE, rule=replace(TWO, agreement=0.5)),
        replace(VOTE, rule=VoteRule({"ppo_daily": 0.6, "a2c_daily": 0.4}, 0.6)),
        CompositeWeights({**VOTE.members, "a2c_daily": weights_of(2, activation="relu")}, TWO),
    ]
    assert len({one.policy_hash for one in changed}) == len(changed)


def test_the_file_is_an_archive_of_plain_arrays() -> None:
    """NumPy reads it without pickles, and each member is the file of a single policy."""
    data = encode_composite(VOTE, CONTRACT)
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        assert {archive[name].dtype.str for name in archive.files} == {"|u1"}
        header = json.loads(archive["__header__"].tobytes())
        alone = decode_weights(archive["member.ppo_daily"].tobytes())
    assert (header["format"], header["rule"]["kind"]) == ("spy-composite-npz-1", "vote")
    assert alone.policy_hash == VOTE.members["ppo_daily"].policy_hash


SMALL = encode_composite(
    CompositeWeights(
        {FALLBACK: decode_weights(encode_weights(random_tensors(4, hidden=3), CONTRACT))},
        RouterRule(),
    ),
    CONTRACT,
)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, len(SMALL) - 1))
def test_a_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(ModelFileMismatch, match="is not a weights file") as refused:
        decode_composite(SMALL[:length])
    assert refused.value.hint


@settings(deadline=None, max_examples=100)
@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
@example(504, 1)  # a bracket of an array's header, at which Python's tokenizer gives up
def test_a_changed_byte_is_refused_or_means_nothing(place: int, change: int) -> None:
    data = bytearray(SMALL)
    data[place] ^= change
    with suppress(ModelFileMismatch):
        assert decode_composite(bytes(data)).policy_hash == decode_composite(SMALL).policy_hash


def test_a_file_that_is_not_the_registered_one_is_refused(tmp_path: Path) -> None:
    identity = saved(tmp_path / "c.npz", VOTE)
    whole = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[:-1])
    with pytest.raises(ModelFileMismatch, match="bytes"):
        load_policy(tmp_path / "c.npz", identity, CONTRACT)
    with pytest.raises(ModelFileMismatch, match=r"none\.npz"):
        load_policy(tmp_path / "none.npz", identity, CONTRACT)


def rewritten(change: Any) -> bytes:
    """The vote's file with another header, or with another member."""
    source, target = io.BytesIO(encode_composite(VOTE, CONTRACT)), io.BytesIO()
    with np.load(source, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(arrays["__header__"].tobytes())
    change(header, arrays)
    arrays["__header__"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with zipfile.ZipFile(target, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array)
            archive.writestr(f"{name}.npy", member.getvalue())
    return target.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda header, _: header.update(format="spy-composite-npz-2"),
        lambda header, _: header.update(policy_hash="0" * 64),
        lambda header, _: header.update(rule={"kind": "oracle"}),
        lambda header, _: header.update(rule={"kind": "router", "fallback": "calm"}),
        lambda header, _: header["rule"].update(agreement=2),
        lambda header, _: header["rule"].update(agreement=0.5),
        lambda header, _: header["rule"].update(weights={"ppo_daily": float("nan"), "a2c_daily": 0.3}),
        lambda header, _: header.update(members=["ppo_daily"]),
        lambda header, _: header.pop("members"),
        lambda _, arrays: arrays.pop("member.a2c_daily"),
        lambda _, arrays: arrays.update({"member.dqn_daily": arrays["member.a2c_daily"]}),
    ],
)  # fmt: skip
def test_a_header_that_contradicts_the_members_is_refused(change: Any) -> None:
    with pytest.raises(ModelFileMismatch):
        decode_composite(rewritten(change))


def test_a_single_policy_is_loaded_by_the_same_call(tmp_path: Path) -> None:
    data = encode_weights(random_tensors(3), CONTRACT)
    (tmp_path / "p.npz").write_bytes(data)
    found = load_policy(tmp_path / "p.npz", FileIdentity.of(data), CONTRACT)
    assert isinstance(found, PolicyNet)
    assert np.array_equal(
        found.probabilities(MIDDLE, ALL), random_net(3).probabilities(MIDDLE, ALL)
    )


def test_another_contract_is_refused(tmp_path: Path) -> None:
    identity = saved(tmp_path / "c.npz", VOTE)
    with pytest.raises(ContractMismatch, match="was trained on daily_15_proxy_v1"):
        load_policy(tmp_path / "c.npz", identity, DAILY_15_CHAIN_V1)
    with pytest.raises(ContractMismatch):
        encode_composite(VOTE, DAILY_15_CHAIN_V1)


def test_members_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="daily_15_chain_v1"):
        CompositeWeights(
            {"ppo_daily": weights_of(1), "a2c_daily": weights_of(2, DAILY_15_CHAIN_V1)}, TWO
        )
    with pytest.raises(ConfigError, match="weights of"):
        composite(TWO, ppo_daily=1)
    with pytest.raises(ConfigError, match="neutral is always needed"):
        composite(RouterRule(), strong_uptrend=1)
    with pytest.raises(ConfigError, match="members none"):
        CompositeWeights({}, RouterRule())


# ---------------------------------------------------------------- how it is asked


def loaded(tmp_path: Path, weights: CompositeWeights) -> CompositePolicy:
    found = load_policy(tmp_path / "c.npz", saved(tmp_path / "c.npz", weights), CONTRACT)
    assert isinstance(found, CompositePolicy)
    return found


def test_a_vote_is_the_weighted_mean_of_its_members(tmp_path: Path) -> None:
    free = composite(VoteRule({"x": 0.7, "y": 0.3}, 0.0), x=1, y=2)
    policy = loaded(tmp_path, free)
    expected = 0.7 * random_net(1).probabilities(MIDDLE, FLAT) + 0.3 * random_net(2).probabilities(
        MIDDLE, FLAT
    )
    answer = ask(policy.probabilities, MIDDLE, FLAT)
    assert answer.probabilities == pytest.approx(expected)
    assert (answer.abstained, policy.actions) == (False, 7)
    rows = policy.probabilities(np.tile(MIDDLE, (2, 1)), np.tile(FLAT, (2, 1)))
    assert rows == pytest.approx(np.tile(expected, (2, 1)))


def test_an_abstention_is_told_with_what_was_missing() -> None:
    members = {"x": bent(0), "y": bent(HOLD)}
    policy = CompositePolicy.from_weights(
        CompositeWeights(members, VoteRule({"x": 0.55, "y": 0.45}, 0.6))
    )
    answer = ask(policy.probabilities, MIDDLE, FLAT)
    assert answer.abstained
    assert answer.abstention is not None
    assert (answer.abstention.proposed, answer.abstention.needed) == (0, 0.6)
    assert answer.abstention.agreement == pytest.approx(0.55)
    assert int(answer.probabilities.argmax()) == HOLD
    holding = np.array([0, 0, 0, 0, 0, 1, 1], dtype=bool)
    assert ask(policy.probabilities, MIDDLE, holding).abstained is None


def bent(action: int) -> PolicyWeights:
    """A network that wants one action wherever it may, and else to hold."""
    tensors = {name: np.zeros_like(values) for name, values in random_tensors().items()}
    tensors["action_net.bias"][HOLD] = 3.0
    tensors["action_net.bias"][action] = 6.0
    return decode_weights(encode_weights(tensors, CONTRACT))


def test_a_router_asks_the_member_of_the_regime(tmp_path: Path) -> None:
    policy = loaded(tmp_path, ROUTER)
    nets = {"strong_uptrend": random_net(3), FALLBACK: random_net(4)}
    for regime in (*REGIMES, None):
        member = nets.get(regime or "", nets[FALLBACK])
        found = ask(policy.probabilities, MIDDLE, FLAT, DecisionContext(regime))
        assert np.array_equal(found.probabilities, member.probabilities(MIDDLE, FLAT))
        assert found.abstained is None
    blind = ask(policy.probabilities, MIDDLE, FLAT, UNKNOWN).probabilities
    assert np.array_equal(blind, policy.probabilities(MIDDLE, FLAT))


def test_a_backtest_tells_the_router_the_regime_of_each_close() -> None:
    """What a router decides up to a close is the same whatever the market does after it."""
    market = planted_market(3, 200)
    wanted = {"strong_uptrend": 0, "strong_downtrend": 1}
    members = {regime: bent(action) for regime, action in wanted.items()} | {FALLBACK: bent(HOLD)}
    router = CompositePolicy.from_weights(CompositeWeights(members, RouterRule()))
    whole = run_policy(Venue(market), greedy(router.probabilities)).decisions
    for decision, regime in zip(whole, path_regimes(market), strict=False):
        asked = wanted.get(regime or "", HOLD)
        assert decision.requested == (asked if asked in decision.allowed else HOLD)
    assert {0, 1} <= {decision.action for decision in whole}
    short = run_policy(Venue(market.window(0, 120)), greedy(router.probabilities)).decisions
    assert whole[: len(short)] == short
