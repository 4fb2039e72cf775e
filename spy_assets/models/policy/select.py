"""Choosing among seeds inside the training window, so that no reported figure chose its own model.

The window is cut once::

    |------------ seeds are trained here ------------|-- purge --|--- seeds are compared here ---|

All of it counts as seen: a model's ``train_end`` is the last session of the window. What is
reported about the model comes from sessions after that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spy_assets.errors import ConfigError
from spy_assets.features.contracts import DAILY_15_PROXY_V1, ObservationContract
from spy_assets.models.policy.config import AgentConfig
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.train import Progress, Stop, Trading, TrainedPolicy, train_policy
from spy_assets.models.policy.weights import decode_weights, encode_weights
from spy_assets.simulator.market_path import MarketPath

Train = Callable[..., TrainedPolicy]


@dataclass(frozen=True)
class Candidate:
    """One seed and how it did on the inner validation tail."""

    policy: TrainedPolicy
    net_pnl: float
    trades: int
    win_rate: float

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


def split_for_selection(path: MarketPath, config: AgentConfig) -> tuple[MarketPath, MarketPath]:
    """Cut a training window into the part that is trained on and the tail that compares seeds.

    Raises
    ------
    ConfigError
        Less than one episode is left to train on.
    """
    tail = max(2, round(len(path) * config.validation_fraction))
    head = len(path) - tail - config.validation_purge
    if head <= config.episode_length:
        raise ConfigError(
            f"{len(path)} sessions - {tail} of validation - {config.validation_purge} of purge = "
            f"{head} to train on, an episode has {config.episode_length}",
            hint="train on a longer window or with a smaller episode_length",
        )
    return path.window(0, head), path.window(len(path) - tail, len(path))


def as_net(
    policy: TrainedPolicy,
    activation: str = "tanh",
    contract: ObservationContract = DAILY_15_PROXY_V1,
) -> PolicyNet:
    """Build the network that will serve, by the same code path as one that is loaded."""
    data = encode_weights(policy.state_dict, contract, activation=activation)
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
    trades = env.simulator.trades
    wins = sum(trade.pnl > 0 for trade in trades)
    return Candidate(
        policy=policy,
        net_pnl=float(env.simulator.value - trading.capital),
        trades=len(trades),
        win_rate=wins / len(trades) if trades else 0.0,
    )


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
    candidates = []
    for number, seed in enumerate(config.seeds):
        policy = train(
            head,
            config,
            seed,
            trading=trading,
            checkpoint_dir=checkpoint_dir,
            progress=_share(progress, number, len(config.seeds)),
            stop=stop,
        )
        candidates.append(score(policy, tail, config, trading))
    return Selection(
        candidates=tuple(candidates),
        chosen=max(candidates, key=lambda candidate: candidate.net_pnl),
        train_sessions=len(head),
        validation_sessions=len(tail),
    )


def _share(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Map one seed's progress into its share of the whole."""
    if progress is None:
        return None

    def report(fraction: float, text: str) -> None:
        progress((number + fraction) / count, text)

    return report
