"""What a search may change, and within which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from spy_assets.errors import ConfigError
from spy_assets.models.policy.config import AgentConfig

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True)
class Uniform:
    """A number between two bounds; ``log`` draws its logarithm evenly."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Trial, name: str) -> float:
        """Let the study choose."""
        return trial.suggest_float(name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of some values, by label; labels are what the study stores."""

    values: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, *values: Any) -> Choice:
        """Label values by their own text.

        >>> Choice.of(4, (64, 64)).values
        (('4', 4), ('64x64', (64, 64)))
        """
        return cls(tuple((_label(value), value) for value in values))

    def suggest(self, trial: Trial, name: str) -> Any:
        """Let the study choose."""
        labels = [label for label, _ in self.values]
        return dict(self.values)[trial.suggest_categorical(name, labels)]


def _label(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


Space = Mapping[str, Uniform | Choice]

_COMMON: Final[Space] = {
    "learning_rate": Uniform(1e-4, 3e-3, log=True),
    "gamma": Choice.of(0.9, 0.95, 0.98, 0.99, 0.995),
    "hidden": Choice.of((32, 32), (64, 64), (128, 128)),
    "activation": Choice.of("tanh", "relu"),
}
_ACTOR_CRITIC: Final[Space] = {
    **_COMMON,
    "gae_lambda": Uniform(0.8, 1.0),
    "ent_coef": Uniform(1e-4, 0.1, log=True),
    "vf_coef": Uniform(0.25, 1.0),
}
#: Algorithm -> its space: the parameters that the papers and practice find to matter most.
SPACES: Final[Mapping[str, Space]] = {
    "ppo": {
        **_ACTOR_CRITIC,
        "clip_range": Uniform(0.1, 0.4),
        "n_epochs": Choice.of(3, 5, 10),
    },
    "a2c": _ACTOR_CRITIC,
    "dqn": {
        **_COMMON,
        "exploration_fraction": Uniform(0.1, 0.6),
        "target_every": Choice.of(50, 100, 250, 500),
        "gradient_steps": Choice.of(1, 2, 4),
    },
}


def space_of(config: AgentConfig) -> Space:
    """The space of a configuration's algorithm.

    Raises
    ------
    ConfigError
        There is none.
    """
    try:
        return SPACES[config.algorithm]
    except KeyError:
        raise ConfigError(
            f"no search space for {config.algorithm!r}", hint=f"there are {', '.join(SPACES)}"
        ) from None


def changed(base: AgentConfig, changes: Mapping[str, Any]) -> AgentConfig:
    """The base configuration with some values changed, validated again."""
    return type(base)(**{**base.model_dump(), **changes})
