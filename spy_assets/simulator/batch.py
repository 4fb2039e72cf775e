"""Many accounts over one or several market paths at once, at compiled speed.

:class:`BatchedAccounts` does to n accounts what :class:`~spy_assets.simulator.daily.DailySimulator` does
to one, and gives the same numbers (tested step by step); it has no ledger and no fills. Prices come
from a :class:`~spy_assets.simulator.position_table.PositionTable`, so that a step is a look-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError
from spy_assets.simulator.book import PathBook, UnitLimits
from spy_assets.simulator.episodes import Episodes
from spy_assets.simulator.exit_schedule import exit_schedule
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules
from spy_assets.simulator.position_table import PositionTable

if TYPE_CHECKING:
    from collections.abc import Mapping

FloatArray = npt.NDArray[np.float64]
Actions = npt.NDArray[np.integer[Any]]

#: Names of the exits that no rule of the chain causes, by their numbers in the kernel.
_FIXED_REASONS: Final = (
    "", "action_close", "expiry", "expiry_missing_print", "end_of_path", "end_of_path_unpriced",
    "assignment",
)  # fmt: skip


class BatchedAccounts:
    """Independent accounts, each at its own session of one of the paths.

    Parameters
    ----------
    books
        Path, costs and configuration; several books are several symbols of one configuration, their
        paths laid end to end: session s of the second is position ``len(first) + s``.
    n
        Number of accounts.
    rules, capital
        Exit chain; initial cash of each account in dollars.
    dtype
        Of the table and the rewards: float64 equals the reference to rounding, float32 needs half
        the memory. Cash and values are float64 either way.
    close_at_end
        Close what is open at an account's last close.
    hold_through
        Walk through sessions with an incomplete observation without asking, as
        :class:`~spy_assets.simulator.environment.DailyOptionsEnv` does.
    episodes
        With these an account that is done begins a random one of them within the same step.
    log_trades
        Keep a record of every closed trade (:meth:`trades`).

    Attributes
    ----------
    observations, masks
        float32 ``[n, 15]`` and bool ``[n, actions]``, of the sessions at whose closes the accounts are.
    rewards, dones
        Of the last step, ``[n]``.
    terminal, finished
        With ``episodes``, where an account is done: its last observation, and its episode's return
        and decisions (``[n, 2]``).
    reasons
        Names of the exits, by the number in a trade's record.

    Raises
    ------
    ConfigError
        If an exit rule or the sizing is not compiled, there are no accounts, or the books differ
        in their configuration.
    """

    def __init__(
        self,
        books: PathBook | Sequence[PathBook],
        n: int,
        *,
        rules: ExitRules = DEFAULT_RULES,
        capital: float = 10_000.0,
        dtype: npt.DTypeLike = np.float64,
        close_at_end: bool = True,
        hold_through: bool = False,
        episodes: Episodes | None = None,
        log_trades: bool = False,
    ) -> None:
        from spy_assets.simulator import _batch_kernel as kernel

        self.books = (books,) if isinstance(books, PathBook) else tuple(books)
        self._require(n, capital)
        self.n, self.capital, self.rules, self.config = n, capital, rules, self.books[0].config
        self._kernel = kernel
        self._market()
        self._tables(np.dtype(dtype))
        self._episodes = episodes or Episodes(np.zeros((0, 2), np.int64), np.zeros(1, np.int64))
        self._settings = self._settings_of(close_at_end=close_at_end, hold_through=hold_through)
        self._accounts = np.zeros(n, kernel.ACCOUNT)
        self._slots = np.zeros((n, self.config.max_positions), kernel.SLOT)
        self._log = np.zeros(4 * n if log_trades else 0, kernel.TRADE)
        self._logged = 0
        self._buffers(np.dtype(dtype))
        self._prepare_step()

    def _require(self, n: int, capital: float) -> None:
        if n < 1 or not self.books:
            raise ConfigError(f"{n} accounts on {len(self.books)} paths", hint="give one or more")
        if not 0.0 < capital < np.inf:
            raise DataError(f"initial capital {capital!r} is not a positive amount")
        configs = {replace(book.config, root="") for book in self.books}
        if len(configs) > 1:
            raise ConfigError(
                f"the {len(self.books)} books have {len(configs)} configurations",
                hint="only the root may differ between the symbols of one batch",
            )

    def _market(self) -> None:
        """Lay the paths end to end."""
        ends = np.cumsum([len(book.path) for book in self.books])
        self._ends = ends - 1
        self._seen = np.concatenate([book.observation for book in self.books])
        self._valid = np.concatenate([np.array(book.valid) for book in self.books])
        self._requirement = np.concatenate([book.requirement for book in self.books])

    def _tables(self, dtype: np.dtype[Any]) -> None:
        tables = [PositionTable.of(book) for book in self.books]
        schedules = [
            exit_schedule(table, self.rules, book)
            for table, book in zip(tables, self.books, strict=True)
        ]
        self.reasons = (*_FIXED_REASONS, *schedules[0].names)
        self._values, self._layout = _laid_out(tables, dtype)
        self._units = np.zeros(
            (len(self._seen), len(self.config.actions.openings)), self._kernel.UNIT
        )
        for name in ("cost", "risk", "margin", "payoff", "settle_age", "missed", "assign_age"):
            self._units[name] = np.concatenate([getattr(table, name) for table in tables])
        self._units["rule_age"] = np.concatenate([schedule.age for schedule in schedules])
        rule = np.concatenate([schedule.rule for schedule in schedules])
        self._units["rule"] = rule + self._kernel.FIRST_RULE
        self._codes = np.array(self.config.actions.codes)

    def _settings_of(self, **flags: bool) -> npt.NDArray[np.void]:
        settings = np.zeros(1, self._kernel.SETTINGS)
        values = {
            "capital": self.capital,
            "scale": self.config.reward_scale / self.capital,
            "penalty": self.config.invalid_action_penalty,
            "max_hold": self.rules.max_hold,
            "at_open": self.config.fill == "next_open",
            **_unit_limits(self.config.sizing)._asdict(),
            **flags,
        }
        for name, value in values.items():
            settings[name] = value
        return settings

    def _buffers(self, dtype: np.dtype[Any]) -> None:
        from spy_assets.simulator._plain_step import PORTFOLIO_DIMS

        n, columns = self.n, self._requirement.shape[1]
        width = self._seen.shape[1] + PORTFOLIO_DIMS
        self.observations = np.full((n, width), np.nan, dtype=np.float32)
        self.masks = np.zeros((n, columns + 2), dtype=np.bool_)
        self.rewards = np.zeros(n, dtype=dtype)
        self.dones = np.zeros(n, dtype=np.bool_)
        self.terminal = np.zeros_like(self.observations)
        self.finished = np.zeros((n, 2))

    def _prepare_step(self) -> None:
        """Put together once what every step hands to its kernel."""
        from spy_assets.simulator import _plain_step as plain

        #: Accounts by kind of step, and how many; of the last step.
        self._lists = np.zeros((plain.KINDS, self.n), dtype=np.uint32)
        self._counts = np.zeros(plain.KINDS, dtype=np.int64)
        rows = _session_rows(self._seen, self._requirement, self._valid, plain.SESSION_EXTRAS)
        #: What each account's next step can be, and the value that it looks up then.
        self._next = np.zeros(self.n, dtype=np.uint8), np.zeros(self.n, dtype=np.int64)
        self._step, self._tell_all = plain.step_accounts, plain.tell_all
        self._arrays = (
            self._accounts, self._slots, self._settings, self._values, self._layout, self._units,
            rows, self._seen, self._valid, self._requirement, self._codes, *self._episodes,
            self.observations, self.masks, self.rewards, self.dones, self.terminal, self.finished,
            *self._next, self._lists, self._counts,
        )  # fmt: skip

    # ---------------------------------------------------------------- what can be seen

    @property
    def index(self) -> npt.NDArray[np.int32]:
        """Position of each account's session on the path."""
        return np.array(self._accounts["index"])

    @property
    def cash(self) -> FloatArray:
        """Dollars of each account."""
        return np.array(self._accounts["cash"])

    @property
    def value(self) -> FloatArray:
        """Cash plus marks, dollars."""
        return np.array(self._accounts["value"])

    @property
    def realized(self) -> FloatArray:
        """P&L of the closed trades of each account's episode, dollars."""
        return np.array(self._accounts["realized"])

    @property
    def invalid_actions(self) -> npt.NDArray[np.int32]:
        """Actions outside the mask in each account's episode."""
        return np.array(self._accounts["invalid"])

    @property
    def open_pnl(self) -> FloatArray:
        """P&L of the open positions at their marks after costs so far, dollars."""
        return np.array(self._accounts["value"] - self._accounts["cash"]) - self._open_cost()

    @property
    def not_plain(self) -> int:
        """How many accounts had more to do in the last step than to follow a plain order."""
        return int(self._counts[0])

    def _open_cost(self) -> FloatArray:
        held = self._slots["decision"] >= 0
        return np.array(np.where(held, self._slots["cost"], 0.0).sum(axis=1))

    def trades(self) -> npt.NDArray[np.void]:
        """Records of the trades closed since the last call (see ``TRADE`` in the kernel)."""
        closed = self._log[: self._logged].copy()
        self._logged = 0
        return closed

    # ---------------------------------------------------------------- what can be done

    def seed(self, seed: int) -> None:
        """Give each account its own stream of random numbers."""
        drawn = np.random.SeedSequence(seed).generate_state(self.n, np.uint64)
        self._accounts["stream"] = drawn

    def reset(self, start: npt.ArrayLike, last: npt.ArrayLike | None = None) -> None:
        """Begin at given sessions, positions on the path; ``last`` is the last session's.

        Raises
        ------
        DataError
            If a range of sessions is empty or leaves the path.
        """
        begins = np.broadcast_to(np.asarray(start, dtype=np.int64), self.n)
        own = np.searchsorted(self._ends, begins)
        end = self._ends[np.minimum(own, len(self._ends) - 1)]
        ends = end if last is None else np.broadcast_to(np.asarray(last, dtype=np.int64), self.n)
        wrong = np.flatnonzero((begins < 0) | (begins > ends) | (ends > end))
        if wrong.size:
            at = int(wrong[0])
            raise DataError(
                f"account {at} from session {begins[at]} to {ends[at]} of a path that ends at {end[at]}",
                hint="start is not after last, and both lie on the path",
            )
        for i in range(self.n):
            self._kernel.start_account(
                self._accounts, self._slots, self._settings, i, begins[i], ends[i]
            )
        self._observe()

    def draw(self) -> None:
        """Begin a random one of the episodes with every account.

        Raises
        ------
        ConfigError
            If there are no episodes to draw from.
        """
        if not len(self._episodes.sessions):
            raise ConfigError(
                "no episodes to draw from", hint="pass episodes, or reset to a session"
            )
        for i in range(self.n):
            self._kernel.draw_episode(
                self._accounts, self._slots, self._settings, i, *self._episodes
            )
        self._observe()

    def _observe(self) -> None:
        self._kernel.observe_accounts(
            self._accounts, self._slots, self._settings, self._seen, self._valid,
            self._requirement, self._codes, self.observations, self.masks,
        )  # fmt: skip
        self._tell_all(self._accounts, self._slots, self._layout, *self._next)

    def step(self, actions: Actions) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Decide for every account and walk to its next decision; gives :attr:`rewards`, :attr:`dones`.

        The arrays are overwritten by the next step. An account that is done and does not begin
        anew stays where it is, with reward 0.

        Raises
        ------
        ConfigError
            If an action does not exist; no account has moved then.
        """
        if actions.shape != (self.n,):
            raise ConfigError(f"actions of shape {actions.shape}, expected ({self.n},)")
        self._make_room()
        logged = self._step(actions, self._log, self._logged, *self._arrays)
        if logged < 0:
            at = -1 - logged
            raise ConfigError(
                f"action {actions[at]} of account {at} does not exist",
                hint=f"0 to {self.masks.shape[1] - 1}",
            )
        self._logged = logged if self._log.size else 0
        return self.rewards, self.dones

    def _make_room(self) -> None:
        """A step closes at most the positions there are and the one that it opens."""
        most = self.n * (self._slots.shape[1] + 1)
        if self._log.size and self._logged + most > self._log.size:
            self._log = np.concatenate((self._log, np.zeros_like(self._log)))

    # ---------------------------------------------------------------- checkpoints

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything needed to go on bit by bit on the same book, as plain arrays."""
        return {
            "accounts": self._accounts.copy(),
            "slots": self._slots.copy(),
            "observations": self.observations.copy(),
            "masks": self.masks.copy(),
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from :meth:`state`.

        Raises
        ------
        DataError
            If the state is of another number of accounts or another layout.
        """
        for name, own in (
            ("accounts", self._accounts),
            ("slots", self._slots),
            ("observations", self.observations),
            ("masks", self.masks),
        ):
            given = np.asarray(state[name])
            if given.shape != own.shape or given.dtype != own.dtype:
                raise DataError(
                    f"{name} of the state have shape {given.shape} and type {given.dtype}, "
                    f"expected {own.shape} and {own.dtype}"
                )
            own[...] = given
        self._tell_all(self._accounts, self._slots, self._layout, *self._next)


def _laid_out(
    tables: Sequence[PositionTable], dtype: np.dtype[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Put the values of all columns into one array of rows.

    Gives with it each column's first row and its number of ages: columns of a short expiry take less
    room. Ages that one path has more than another are never reached there.
    """
    blocks, layout, rows = [], [], 0
    for column in zip(*(table.values for table in tables), strict=True):
        ages = max(values.shape[1] for values in column)
        layout.append((rows, ages))
        for values in column:
            missing = ((0, 0), (0, ages - values.shape[1]), (0, 0))
            block = np.pad(values, missing, constant_values=np.nan).reshape(-1, values.shape[2])
            with np.errstate(under="ignore"):  # too small for float32 is worth nothing
                blocks.append(block.astype(dtype))
            rows += len(block)
    return np.concatenate(blocks), np.array(layout, dtype=np.int64)


def _session_rows(
    seen: npt.NDArray[np.float32],
    requirement: FloatArray,
    valid: npt.NDArray[np.bool_],
    extras: int,
) -> npt.NDArray[np.float32]:
    """What a step looks up of a session, each row beginning with a cache line of 64 bytes.

    Behind the observation, at the row's end: dollars with which every entry can be paid (rounded up,
    infinite where an entry has no price), and whether the observation is complete.
    """
    line = 64 // seen.itemsize
    width = -(-(seen.shape[1] + extras) // line) * line
    room = np.zeros(len(seen) * width + line, dtype=seen.dtype)
    first = -room.ctypes.data % 64 // seen.itemsize
    rows = room[first : first + len(seen) * width].reshape(-1, width)
    most = np.where(np.isnan(requirement), np.inf, requirement).max(axis=1)
    rows[:, : seen.shape[1]] = seen
    rows[:, -2] = np.nextafter(most.astype(np.float32), np.float32(np.inf))
    rows[:, -1] = valid
    return rows


def _unit_limits(sizing: object) -> UnitLimits:
    limits = getattr(sizing, "unit_limits", None)
    if limits is None:
        raise ConfigError(
            f"sizing {sizing!r} is not compiled",
            hint="give it a method unit_limits() -> UnitLimits, or use DailySimulator",
        )
    return UnitLimits(*(float(number) for number in limits()))
