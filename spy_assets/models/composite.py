"""Several policies as one registered version: their networks and the rule that makes one of them.

A composite is one file that holds numbers and nothing else, like a single policy's
(:mod:`spy_assets.models.policy.weights`): an ``.npz`` archive of a JSON header and one array of bytes
per member, which is that member's own weights file. The header has the rule:

    vote      {"kind": "vote", "weights": {member: weight}, "agreement": 0.5}      ensemble.py
    router    {"kind": "router", "fallback": "neutral"}; members are named by regime    routing.py

Members stand in the order of their names and are stored without what their training said of itself, so
that the same members and rule are the same bytes and the same ``policy_hash``. :func:`load_policy`
reads either kind of file, so that whoever asks a version need not know which it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from spy_assets.errors import ConfigError, ModelFileMismatch
from spy_assets.features.contracts import ObservationContract
from spy_assets.models.ensemble import Ensemble
from spy_assets.models.policy.asking import Informed, Probabilities
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.weights import (
    FileIdentity,
    PolicyWeights,
    check_contract,
    decode_weights,
    encode_weights,
    not_of_format,
    read_archive,
    read_registered,
    write_archive,
)
from spy_assets.models.routing import FALLBACK, Router
from spy_assets.simulator.mandate import Mandate

FORMAT: Final = "spy-composite-npz-1"


@dataclass(frozen=True)
class VoteRule:
    """A weighted vote; see :class:`~spy_assets.models.ensemble.Ensemble`."""

    weights: Mapping[str, float]
    agreement: float = 0.5

    def over(self, members: Mapping[str, Probabilities]) -> Ensemble:
        """The ensemble of the members."""
        return Ensemble(members, self.weights, self.agreement)

    def values(self) -> dict[str, Any]:
        """The rule as JSON types."""
        weights = {name: float(weight) for name, weight in self.weights.items()}
        return {"kind": "vote", "weights": weights, "agreement": float(self.agreement)}


@dataclass(frozen=True)
class RouterRule:
    """A policy per regime; see :class:`~spy_assets.models.routing.Router`."""

    def over(self, members: Mapping[str, Probabilities]) -> Router:
        """The router among the members, which are named by regime."""
        return Router(members)

    def values(self) -> dict[str, Any]:
        """The rule as JSON types."""
        return {"kind": "router", "fallback": FALLBACK}


Rule = VoteRule | RouterRule


def rule_of(values: Mapping[str, Any]) -> Rule:
    """Give the rule that :meth:`VoteRule.values` or :meth:`RouterRule.values` wrote.

    Raises
    ------
    ConfigError
        There is no such rule.
    KeyError, TypeError
        Its values are not those of its kind.
    """
    if values["kind"] == "vote":
        weights = {str(name): float(weight) for name, weight in dict(values["weights"]).items()}
        return VoteRule(weights, float(values["agreement"]))
    if values["kind"] == "router" and values["fallback"] == FALLBACK:
        return RouterRule()
    raise ConfigError(f"rule {dict(values)}", hint="the rules are those of VoteRule and RouterRule")


@dataclass(frozen=True)
class CompositeWeights:
    """The members' tensors and the rule.

    Parameters
    ----------
    members
        Name to weights, at least one.
    rule
        What makes one policy of them.

    Raises
    ------
    ConfigError
        Members of different contracts, mandates or numbers of actions, or a rule of other members.
    ModelFileMismatch
        A member's tensors are no network.
    """

    members: Mapping[str, PolicyWeights]
    rule: Rule

    def __post_init__(self) -> None:
        ordered = dict(sorted(self.members.items()))
        object.__setattr__(self, "members", ordered)
        seen = {
            (one.contract, one.contract_sha, one.observation, one.mandate)
            for one in ordered.values()
        }
        actions = {net.actions for net in self.nets.values()}
        if len(seen) != 1 or len(actions) != 1:
            known = ", ".join(
                f"{name} of {one.contract} {one.contract_sha[:12]} for {one.mandate} with "
                f"{self.nets[name].actions} actions"
                for name, one in ordered.items()
            )
            raise ConfigError(
                f"members {known or 'none'}",
                hint="give members of one observation contract and one mandate",
            )
        self.rule.over({name: net.probabilities for name, net in self.nets.items()})

    @cached_property
    def nets(self) -> dict[str, PolicyNet]:
        """The members' networks."""
        return {name: PolicyNet.from_weights(one) for name, one in self.members.items()}

    @property
    def _any(self) -> PolicyWeights:
        return next(iter(self.members.values()))

    @property
    def contract(self) -> str:
        """Name of the members' observation contract."""
        return self._any.contract

    @property
    def contract_sha(self) -> str:
        """Hash of its definition."""
        return self._any.contract_sha

    @property
    def observation(self) -> tuple[str, ...]:
        """Its dimensions in their order."""
        return self._any.observation

    @property
    def mandate(self) -> Mandate:
        """What the account may trade that the members were trained for."""
        return self._any.mandate

    @property
    def policy_hash(self) -> str:
        """SHA-256 over the rule and each member's name, activation and policy hash."""
        known = {name: [one.activation, one.policy_hash] for name, one in self.members.items()}
        text = json.dumps([FORMAT, self.rule.values(), known], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def encode_composite(weights: CompositeWeights, contract: ObservationContract) -> bytes:
    """Give the bytes of a composite's file; equal members and rules give equal bytes.

    Raises
    ------
    ContractMismatch
        The members were trained on another contract.
    """
    files = {}
    for name, one in weights.members.items():
        check_contract(one, contract)
        data = encode_weights(one.tensors, contract, activation=one.activation, mandate=one.mandate)
        files[f"member.{name}"] = np.frombuffer(data, np.uint8)
    header = {
        "format": FORMAT,
        "contract": contract.name,
        "rule": weights.rule.values(),
        "members": list(weights.members),
        "policy_hash": weights.policy_hash,
    }
    return write_archive(header, files)


def decode_composite(data: bytes, name: str = "the file") -> CompositeWeights:
    """Parse the bytes of a composite's file, without any check of identity or contract.

    Raises
    ------
    ModelFileMismatch
        The bytes are no such file, or contradict their own header.
    """
    header, files = read_archive(data, FORMAT, name)
    try:
        members = {
            one: decode_weights(files.pop(f"member.{one}").tobytes(), f"{one} of {name}")
            for one in header["members"]
        }
        weights = CompositeWeights(members, rule_of(header["rule"]))
        stated = (header["format"], header["policy_hash"], sorted(files))
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise not_of_format(name, FORMAT, error) from error
    if stated != (FORMAT, weights.policy_hash, []):
        raise ModelFileMismatch(
            f"{name} says {stated}, its members are {(FORMAT, weights.policy_hash, [])}",
            hint="fetch the file from the registry again",
        )
    return weights


@dataclass(frozen=True)
class CompositePolicy:
    """Several policies that are asked as one.

    Attributes
    ----------
    weights
        What it is made of.
    probabilities
        What is asked, as :meth:`PolicyNet.probabilities` of a single policy; told the context by
        :func:`~spy_assets.models.policy.asking.ask`.
    """

    weights: CompositeWeights
    probabilities: Informed

    @classmethod
    def from_weights(cls, weights: CompositeWeights) -> CompositePolicy:
        """Build the networks and join them by the rule."""
        nets = weights.nets
        asked = {name: net.probabilities for name, net in nets.items()}
        return cls(weights, weights.rule.over(asked))

    @property
    def actions(self) -> int:
        """Number of actions."""
        return next(iter(self.weights.nets.values())).actions


#: A version that was loaded: one network, or several under a rule.
LoadedPolicy = PolicyNet | CompositePolicy


def load_policy(path: Path, expected: FileIdentity, contract: ObservationContract) -> LoadedPolicy:
    """Read a registered file of either kind, under the contract that it was trained on.

    Raises
    ------
    ModelFileMismatch
        The file is missing, truncated, altered, or of neither format.
    ContractMismatch
        The policy was trained on another observation; the first difference is named.
    """
    weights = decode_policy(read_registered(path, expected), str(path))
    members = weights.members.values() if isinstance(weights, CompositeWeights) else (weights,)
    for one in members:
        check_contract(one, contract)
    return policy_of(weights)


def decode_policy(data: bytes, name: str = "the file") -> PolicyWeights | CompositeWeights:
    """Parse a file of either kind, without any check of identity or contract.

    Raises
    ------
    ModelFileMismatch
        The bytes are of neither format, or contradict their own header.
    """
    header, _ = read_archive(data, f"{FORMAT} or of a single policy", name)
    single = header.get("format") != FORMAT
    return decode_weights(data, name) if single else decode_composite(data, name)


def policy_of(weights: PolicyWeights | CompositeWeights) -> LoadedPolicy:
    """Build the network, or the several under their rule."""
    if isinstance(weights, CompositeWeights):
        return CompositePolicy.from_weights(weights)
    return PolicyNet.from_weights(weights)
