"""Choosing among seeds inside the training window, so that no reported figure chose its own model.

The window is cut once::

    |------------ seeds are trained here ------------|-- purge --|--- seeds are compared here ---|

All of it counts as seen: a model's ``train_end`` is the last session of the window. What is
reported about the model comes from sessions after that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spy_assets.errors import ConfigError
from spy_assets.features.contracts import DAILY_15_PROXY_V1, ObservationContract
from spy_assets.models.policy.config import AgentConfig
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.train import Progress, Stop, Trading, TrainedPolicy, train_policy
from spy_assets.models.policy.weights import decode_weights, encode_weights
from spy_assets.simulator.kernel import Trade
from spy_assets.simulator.mandate import DAILY_MANDATE, Mandate
from spy_assets.simulator.market_path import MarketPath

Train = Callable[..., TrainedPolicy]


@dataclass(frozen=True)
class Candidate:
    """One seed and how it did on the inner validation tail."""

    policy: TrainedPolicy
    net_pnl: float
    trades: int
    win_rate: float

    @classmethod
    def of(cls, policy: TrainedPolicy, net_pnl: float, trades: Sequence[Trade]) -> Candidate:
        """Count what a walk over the tail traded."""
        wins = sum(trade.pnl > 0 for trade in trades)
        return cls(policy, net_pnl, len(trades), wins / len(trades) if trades else 0.0)

    @property
    def metrics(self) -> dict[str, float]:
        """The figures under the names that the registry shows."""
        return {
            "validation_net_pnl": self.net_pnl,
            "validation_trades": float(self.trades),
            "validation_win_rate": self.win_rate,
        }


@dataclass(frozen=True)
class Selection:
    """All candidates, in the order of the seeds, and the one that is kept."""

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    train_sessions: int
    validation_sessions: int

    @property
    def made_here(self) -> int:
        """Environment steps of all seeds that this process made."""
        return sum(one.policy.made_here for one in self.candidates)


def split_for_selection(path: MarketPath, config: AgentConfig) -> tuple[MarketPath, MarketPath]:
    """Cut a training window into the part that is trained on and the tail that compares seeds.

    Raises
    ------
    ConfigError
        Less than one episode is left to train on.
    """
    # An episode of n steps ends n sessions after the one that it begins with.
    head, tail = head_and_tail(len(path), config, config.validation_purge, longest=1)
    return path.window(0, head), path.window(tail, len(path))


def head_and_tail(
    sessions: int, config: AgentConfig, purge: int, *, longest: int = 0
) -> tuple[int, int]:
    """Where the head that is trained on ends, and where the tail that compares seeds begins.

    ``longest`` are the sessions that an episode needs beside its own.

    Raises
    ------
    ConfigError
        Less than one episode is left to train on.
    """
    tail = max(2, round(sessions * config.validation_fraction))
    head = sessions - tail - purge
    if head < config.episode_length + longest:
        raise ConfigError(
            f"{sessions} sessions - {tail} of validation - {purge} of purge = "
            f"{head} to train on, an episode has {config.episode_length}",
            hint="train on a longer window or with a smaller episode_length",
        )
    return head, sessions - tail


def as_net(
    policy: TrainedPolicy,
    activation: str = "tanh",
    contract: ObservationContract = DAILY_15_PROXY_V1,
    mandate: Mandate = DAILY_MANDATE,
) -> PolicyNet:
    """Build the network that will serve, by the same code path as one that is loaded."""
    data = encode_weights(policy.state_dict, contract, activation=activation, mandate=mandate)
    return PolicyNet.from_weights(decode_weights(data))


def score(
    policy: TrainedPolicy, path: MarketPath, config: AgentConfig, trading: Trading
) -> Candidate:
    """Walk ``path`` once with the most probable action of each state; nothing is sampled."""
    net = as_net(policy, config.activation, path.contract)
    env = trading.environment(trading.book(path), None)
    observation, _ = env.reset(seed=0)
    done = False
    while not done:
        action = net.act(observation, env.action_masks())
        observation, _, done, _, _ = env.step(action)
    simulator = env.simulator
    return Candidate.of(policy, float(simulator.value - trading.capital), simulator.trades)


def train_and_select(
    path: MarketPath,
    config: AgentConfig,
    *,
    trading: Trading | None = None,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    train: Train = train_policy,
) -> Selection:
    """Train every seed of ``config`` and keep the one with the best net P&L on the inner tail.

    The earlier seed wins a tie. ``train`` may be another way to call
    :func:`~spy_assets.models.policy.train.train_policy`, such as in a process of its own.

    Raises
    ------
    ConfigError
        The window is too short.
    TrainingStopped
        ``stop`` became true; finished seeds are not trained again by the next call.
    """
    trading = trading or Trading()
    head, tail = split_for_selection(path, config)
    how = {"trading": trading, "checkpoint_dir": checkpoint_dir, "stop": stop}
    return best_of_seeds(
        config,
        lambda seed, told: train(head, config, seed, progress=told, **how),
        lambda policy: score(policy, tail, config, trading),
        (len(head), len(tail)),
        progress,
    )


def best_of_seeds(
    config: AgentConfig,
    train: Callable[[int, Progress | None], TrainedPolicy],
    judge: Callable[[TrainedPolicy], Candidate],
    sessions: tuple[int, int],
    progress: Progress | None,
) -> Selection:
    """Train and judge every seed, and keep the best; the earlier one wins a tie.

    ``train`` is given a seed and its share of the progress, ``judge`` walks the tail; ``sessions`` are
    those of head and tail.
    """
    candidates = [
        judge(train(seed, share_of(progress, number, len(config.seeds))))
        for number, seed in enumerate(config.seeds)
    ]
    chosen = max(candidates, key=lambda candidate: candidate.net_pnl)
    return Selection(tuple(candidates), chosen, *sessions)


def share_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Map the progress of one of ``count`` trainings into its share of the whole."""
    if progress is None:
        return None

    def report(fraction: float, text: str) -> None:
        progress((number + fraction) / count, text)

    return report
