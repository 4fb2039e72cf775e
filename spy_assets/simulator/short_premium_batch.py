"""Many short-premium accounts at compiled speed, over one path or several symbols' paths.

Equal to :class:`~spy_assets.simulator.short_premium.ShortPremiumSimulator` account by account: values
and rewards to 1e-9, observations to the last bit of float32 but one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError
from spy_assets.features.contracts import INTRADAY_8_V1, INTRADAY_PNL_BOUND
from spy_assets.simulator import short_premium_plan as terms
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.intraday_batch import empty_orders, market_of, new_accounts, rule_table
from spy_assets.simulator.intraday_book import BID_ASK_COSTS, FARTHEST_STRIKE, IntradayConfig
from spy_assets.simulator.intraday_path import YEAR_SESSIONS, IntradayPath, PathArrays
from spy_assets.simulator.short_premium import tradable
from spy_assets.simulator.short_premium_plan import ShortPremiumPlan

if TYPE_CHECKING:
    from spy_assets.simulator._short_premium_kernel import Desks, Plan

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_LOW_HALF: Final = (1 << 64) - 1
#: One position a side.
_SLOTS: Final = 2


def joined_arrays(paths: Sequence[IntradayPath]) -> PathArrays:
    """Several paths behind one another, as if they were one; nothing leads from one to the next."""
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in PathArrays._fields}
    bars = sessions = calendar = 0
    for path in paths:
        for name, array in path.arrays._asdict().items():
            offset = {"first_bar": bars, "session_of": sessions, "ordinal": calendar}.get(name, 0)
            # The first bar of the next path is the end of this one.
            values = array[:-1] if name == "first_bar" else array
            parts[name].append(values + offset if offset else values)
        bars, sessions = bars + len(path), sessions + len(path.sessions)
        calendar += len(path.calendar)
    parts["first_bar"].append(np.array([bars]))
    return PathArrays(**{name: np.concatenate(arrays) for name, arrays in parts.items()})


def episode_starts(path: IntradayPath, sessions: int) -> IntArray:
    """Sessions with which an episode can begin: it and those after it can be traded.

    Raises
    ------
    DataError
        If there is none.
    """
    good = tradable(path)
    if sessions < 1:
        raise ConfigError(f"an episode of {sessions} sessions", hint="give at least one")
    runs = np.convolve(good, np.ones(sessions), "valid") if len(good) >= sessions else np.zeros(0)
    starts = np.flatnonzero(runs == sessions)
    if starts.size == 0:
        raise DataError(
            f"no episode of {sessions} sessions among {len(good)} of {path.symbol}",
            hint="each needs two bars and the volatility and rate of the session before",
        )
    return starts.astype(np.int64)


def plan_constants(plan: ShortPremiumPlan) -> Plan:
    """The kernel's constants of a plan."""
    from spy_assets.simulator import _short_premium_kernel as compiled

    kinds = {None: compiled.HOLDS, "P": compiled.SELLS_PUT, "C": compiled.SELLS_CALL}
    cap = plan.max_contracts_a_side
    return compiled.Plan(
        kind=np.array(
            [compiled.CLOSES if spec.closes else kinds[spec.right] for spec in plan.specs]
        ),
        delta=np.array([min(spec.delta, plan.risk.delta_limit) for spec in plan.specs]),
        contracts=np.array([float(min(size, cap)) for size in plan.risk.contracts]),
        multiples=np.array(plan.risk.multiples),
        waits=np.array(plan.risk.wait_minutes),
        width=plan.width,
        naked=float(plan.naked),
        first_minutes=plan.filter.first_minutes,
        last_minutes=plan.filter.last_minutes,
        kelly_share=plan.kelly_share,
        kelly_trades=float(plan.kelly_trades),
        warm_up=float(plan.risk.contracts[-1]),
        calm_vix=terms.CALM_VIX,
        wild_vix=terms.WILD_VIX,
        wild_move=terms.WILD_MOVE,
        year_sessions=YEAR_SESSIONS,
        medium_from=terms.MEDIUM_FROM,
        high_from=terms.HIGH_FROM,
        farthest=FARTHEST_STRIKE,
        capital=plan.capital,
        reward_scale=plan.reward_scale,
        penalty=plan.invalid_action_penalty,
        pnl_bound=INTRADAY_PNL_BOUND,
    )


class ShortPremiumAccounts:
    """A accounts, each in its own episode; an episode that ends is followed by a random one.

    Parameters
    ----------
    paths
        One path a symbol; a new episode takes a symbol with equal chances, then one of its sessions.
    count
        Number of accounts.
    plan, costs, market
        As for :class:`~spy_assets.simulator.short_premium.ShortPremiumSimulator`.
    sessions
        Sessions of an episode.
    seed
        Of the random episodes.

    Attributes
    ----------
    observations, masks
        ``[A, 8]`` float32 and ``[A, actions]``, at the end of each account's bar.
    rewards, changes, dones, terminal
        Of the last step: rewards, changes of value in dollars, whether the episode ended, and the
        observation with which it did.

    Raises
    ------
    DataError
        If no episode can be had of a path.
    ConfigError
        If there is no path, no account, or paths have bars of different lengths.
    """

    def __init__(
        self,
        paths: IntradayPath | Sequence[IntradayPath],
        count: int,
        plan: ShortPremiumPlan | None = None,
        costs: CostModel = BID_ASK_COSTS,
        *,
        sessions: int = 1,
        market: IntradayConfig | None = None,
        seed: int = 0,
    ) -> None:
        from spy_assets.simulator import _short_premium_kernel as compiled

        self.paths = (paths,) if isinstance(paths, IntradayPath) else tuple(paths)
        if not self.paths or count < 1 or len({path.bar_minutes for path in self.paths}) > 1:
            raise ConfigError(
                f"{count} accounts over {len(self.paths)} paths of bars of "
                f"{sorted({path.bar_minutes for path in self.paths})} minutes",
                hint="give at least one of both, and bars of one length",
            )
        self.plan = plan or ShortPremiumPlan()
        self.count = count
        self.offsets = np.cumsum([0, *(len(path.sessions) for path in self.paths)])
        self.starts = [
            episode_starts(path, sessions) + offset
            for path, offset in zip(self.paths, self.offsets, strict=False)
        ]
        self._path = joined_arrays(self.paths)
        self._rules = rule_table(self.plan.chains)
        self._market = market_of(self.plan.config(market), costs)
        self._plan = plan_constants(self.plan)
        longest = int(np.diff(self._path.first_bar).max())
        self.accounts = new_accounts(count, _SLOTS, longest, self.plan.capital)
        self.desks = _new_desks(count, self.plan.actions, sessions)
        self._orders = empty_orders(count)
        self._compiled = compiled
        self._random = np.random.default_rng(seed)
        self.restart()

    @property
    def observations(self) -> npt.NDArray[np.float32]:
        """What each account sees, ``[A, 8]``; overwritten by the next step."""
        return self.desks.seen

    @property
    def terminal(self) -> npt.NDArray[np.float32]:
        """What an account saw last, where its episode ended in the last step, ``[A, 8]``."""
        return self.desks.terminal

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """What each account may do; overwritten by the next step."""
        return self.desks.mask

    @property
    def values(self) -> FloatArray:
        """Cash plus marks of each account, dollars."""
        return self.desks.worth

    def draw(self, count: int) -> IntArray:
        """Sessions of random episodes: a symbol with equal chances, then a session of it."""
        symbols = self._random.integers(len(self.starts), size=count)
        sizes = np.array([len(starts) for starts in self.starts])
        places = (self._random.random(count) * sizes[symbols]).astype(np.int64)
        return np.array(
            [self.starts[k][n] for k, n in zip(symbols, places, strict=True)], dtype=np.int64
        )

    def restart(
        self, sessions: npt.ArrayLike | None = None, *, seed: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Begin an episode with every account: random ones, or at the sessions given.

        Sessions are counted over all paths; gives the observations.
        """
        if seed is not None:
            self._random = np.random.default_rng(seed)
        chosen = self.draw(self.count) if sessions is None else np.asarray(sessions, dtype=np.int64)
        self.desks.following[:] = chosen
        for a in range(self.count):
            self._compiled.begin_episode(self._path, self.accounts, self.desks, self._plan, a)
        self._compiled.look(
            self._path, self._market, self.accounts, self.desks, self._plan, 0, self.count
        )
        self.desks.following[:] = self.draw(self.count)
        return self.observations

    def step(self, actions: npt.ArrayLike) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Walk every account one bar; gives rewards and dones, overwritten by the next step.

        Raises
        ------
        ConfigError
            If an action does not exist.
        """
        chosen = np.asarray(actions, dtype=np.int64)
        if chosen.shape != (self.count,) or chosen.min() < 0 or chosen.max() >= self.plan.actions:
            raise ConfigError(
                f"actions of shape {chosen.shape}, expected ({self.count},) of 0 to "
                f"{self.plan.actions - 1}"
            )
        desks = self.desks
        self._compiled.step_accounts(
            self._path,
            self._rules,
            self._market,
            self.accounts,
            desks,
            self._plan,
            self._orders,
            chosen,
        )
        ended = np.flatnonzero(desks.done)
        if ended.size:
            desks.following[ended] = self.draw(ended.size)
        return desks.reward, desks.done

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Accounts, episodes and random numbers as plain arrays: all that :meth:`restore` needs."""
        arrays = {**self.accounts._asdict(), **_prefixed(self.desks)}
        words = self._random.bit_generator.state
        numbers = [words["state"]["state"], words["state"]["inc"]]
        halves = [part for number in numbers for part in (number >> 64, number & _LOW_HALF)]
        random = np.array([*halves, words["has_uint32"], words["uinteger"]], dtype=np.uint64)
        return {"random": random, **{name: array.copy() for name, array in arrays.items()}}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Go on from :meth:`state` bit by bit, on the same paths and plan; gives the observations.

        Raises
        ------
        DataError
            If the state is of other accounts.
        """
        own = {**self.accounts._asdict(), **_prefixed(self.desks)}
        for name, array in own.items():
            if name not in state or state[name].shape != array.shape:
                raise DataError(
                    f"the state has no {name} of shape {array.shape}",
                    hint="restore it into as many accounts of the same plan",
                )
        for name, array in own.items():
            array[...] = state[name]
        high, low, inc_high, inc_low, has_half, half = (int(word) for word in state["random"])
        self._random.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
            "has_uint32": has_half,
            "uinteger": half,
        }
        return self.observations


def _prefixed(desks: Desks) -> dict[str, npt.NDArray[Any]]:
    return {f"desk_{name}": array for name, array in desks._asdict().items()}


def _new_desks(count: int, actions: int, sessions: int) -> Desks:
    from spy_assets.simulator._short_premium_kernel import N_SEEN, Desks

    assert INTRADAY_8_V1.size == N_SEEN

    def floats() -> FloatArray:
        return np.zeros(count)

    def whole() -> IntArray:
        return np.zeros(count, dtype=np.int64)

    return Desks(
        bar=whole(),
        last=whole(),
        following=whole(),
        length=np.full(count, sessions, dtype=np.int64),
        sold=np.zeros((count, 2), dtype=np.bool_),
        blocked_until=floats(),
        trades=floats(),
        wins=floats(),
        gained=floats(),
        lost=floats(),
        worth=floats(),
        invalid=whole(),
        reward=floats(),
        change=floats(),
        done=np.zeros(count, dtype=np.bool_),
        seen=np.zeros((count, N_SEEN), dtype=np.float32),
        terminal=np.zeros((count, N_SEEN), dtype=np.float32),
        mask=np.zeros((count, actions), dtype=np.bool_),
    )
