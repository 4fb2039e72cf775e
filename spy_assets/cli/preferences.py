"""``spy prefs``: say which of two trades was better, and see what was learnt from it."""

from __future__ import annotations

import getpass
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from spy_assets.cli.tables import rich_table
from spy_assets.cli.terminal import AsJson, Terminal, begin
from spy_assets.errors import DataError

if TYPE_CHECKING:
    from datetime import date

    from rich.console import RenderableType

    from spy_assets.models.preference.pairs import ComparedPairs, Preference
    from spy_assets.models.preference.trades import ClosedTrade
    from spy_assets.warehouse import Warehouse

app = typer.Typer(
    help="Compare trades two at a time, and see what was learnt from it.", no_args_is_help=True
)

_QUIT: Final = "q"
_KEYS: Final = {"1": "1", "2": "2", "s": "skip"}
#: What is told of the learnt reward needs about this many answers to be more than noise.
_ENOUGH: Final = 50


@app.command()
def collect(
    ctx: typer.Context,
    count: Annotated[int, typer.Option("--count", min=1, help="Pairs to show at most.")] = 20,
    rater: Annotated[
        str | None, typer.Option("--rater", help="Who answers; the name of the login by default.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed shows other pairs.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show two closed trades side by side and ask which was better: 1, 2, s to skip, q to quit.

    Each answer is stored before the next pair is shown, so that nothing is lost by quitting. A pair that
    was answered or skipped is not shown again to the same person.
    """
    from spy_assets.defs import learning
    from spy_assets.warehouse import Warehouse

    terminal = begin(ctx, as_json=as_json)
    person = " ".join((rater or getpass.getuser()).split())
    given: list[Preference] = []
    with Warehouse.open(terminal.settings) as lake:
        known = learning.ledger(lake, terminal.settings)
        if len(known) < 2:
            raise DataError(
                f"{len(known)} trades have closed, two are needed to compare",
                hint="let `spy run` or `spy track` settle some first",
            )
        own = [one for one in learning.preferences(lake, terminal.settings) if one.rater == person]
        session = _Session(terminal, lake, known, person, seed)
        asked = {frozenset((one.first, one.second)) for one in own}
        while len(given) < count:
            answer = session.ask(asked)
            if answer is None:
                break
            given.append(answer)
            asked.add(frozenset((answer.first, answer.second)))
    counts = Counter(one.preferred for one in given)
    payload = {"rater": person, "answered": len(given), "skipped": counts["skip"]}
    terminal.emit(
        payload | {"ids": [one.preference_id for one in given]},
        lambda: f"{len(given)} answers stored, {counts['skip']} of them skipped",
    )


class _Session:
    """One person at the terminal."""

    def __init__(
        self, terminal: Terminal, lake: Warehouse, known: Any, rater: str, seed: int
    ) -> None:
        from spy_assets.defs.learning import closed_trades

        self.terminal, self.lake, self.rater, self.seed = terminal, lake, rater, seed
        self.trades: list[ClosedTrade] = closed_trades(known)
        self.rows = {outcome["signal_id"]: (signal, outcome) for signal, outcome in known}
        self.closes = _closes(lake, terminal.settings.symbol)

    def ask(self, asked: set[frozenset[str]]) -> Preference | None:
        """Show the next pair and store the answer; None at the end, or when the person quits."""
        from spy_assets import clock
        from spy_assets.cli.preference_view import side_by_side
        from spy_assets.models.preference.pairs import Preference, next_pair

        pair = next_pair(self.trades, asked, seed=self.seed)
        if pair is None:
            self.terminal.out.print("every pair has an answer", style="dim")
            return None
        first, second = (one.trade_id for one in pair)
        self.terminal.out.print(side_by_side(self.rows[first], self.rows[second], self.closes))
        self.terminal.out.print("Which trade was better? 1, 2, s (skip), q (quit) ", end="")
        key = _key()
        self.terminal.out.print(key or _QUIT)
        if key not in _KEYS:
            return None
        answer = Preference(first, second, _KEYS[key], self.rater, clock.utc_now())  # type: ignore[arg-type]
        self._store(answer)
        return answer

    def _store(self, answer: Preference) -> None:
        from spy_assets.defs.registering import frame
        from spy_assets.warehouse.tables import TABLES

        spec, settings = TABLES["ledger.preferences"], self.terminal.settings
        row = answer.to_row(settings.symbol, settings.source)
        self.lake.write(spec, frame(spec, [row]), ingested_at=answer.answered_at)


def _key() -> str:
    """The next key that means something; empty at the end of input. Piped input has one per line."""
    while True:
        if sys.stdin.isatty():
            key = typer.getchar().lower()
            if key in ("\x04", "\x1b"):
                return ""
        else:
            line = sys.stdin.readline()
            if not line:
                return ""
            key = line.strip().lower()
        if key in _KEYS or key == _QUIT:
            return key


def _closes(lake: Warehouse, symbol: str) -> dict[date, float]:
    rows = lake.read(
        "market.daily_bars", columns=["session", "close"], where="symbol = ?", params=(symbol,)
    )
    return dict(rows.iter_rows())


@app.command()
def stats(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show who answered how often, what the answers say people like, and how well they are foretold.

    The reward is fitted anew to all answers; nothing is stored.
    """
    from spy_assets.defs import learning
    from spy_assets.models.preference.pairs import compared_pairs
    from spy_assets.warehouse import Warehouse

    terminal = begin(ctx, as_json=as_json)
    settings = terminal.settings
    with Warehouse.open(settings, read_only=True) as lake:
        said = learning.preferences(lake, settings)
        trades = learning.closed_trades(learning.ledger(lake, settings))
    pairs = compared_pairs(said, trades, settings.risk.capital)
    learnt = _learnt(pairs, settings.risk.capital)
    raters = Counter(one.rater for one in said)
    terminal.emit(
        {"answers": len(said), "skipped": pairs.skipped, "lost": pairs.lost, "raters": raters}
        | learnt,
        lambda: _table(learnt, raters, pairs),
    )


def _learnt(pairs: ComparedPairs, capital: float) -> dict[str, Any]:
    """Log odds per feature and the held-out accuracy with its interval; nulls where nothing is known."""
    from spy_assets.evaluation.statistics import wilson_interval
    from spy_assets.models.preference.reward_model import fit_reward_model, held_out_accuracy

    if not len(pairs):
        return {"accuracy": None, "interval": None, "held_out": 0, "likes": {}}
    model = fit_reward_model(pairs, capital=capital)
    held = held_out_accuracy(pairs, capital=capital)
    interval = wilson_interval(held.correct, held.total) if held.total else None
    return {
        "accuracy": held.accuracy,
        "interval": None if interval is None else [interval.low, interval.high],
        "held_out": held.total,
        "likes": model.per_feature(),
    }


def _table(learnt: dict[str, Any], raters: Counter[str], pairs: ComparedPairs) -> RenderableType:
    from spy_assets.models.preference.trades import FEATURES

    who = ", ".join(f"{name} {count}" for name, count in raters.most_common()) or "nobody yet"
    caption = f"answers: {who}; {pairs.skipped} skipped, {pairs.lost} about trades that are gone"
    if learnt["interval"] is None:
        caption += "\ntoo few answers to hold any out"
    else:
        low, high = learnt["interval"]
        caption += (
            f"\nforetold without having been seen: {learnt['accuracy']:.0%} of {learnt['held_out']}"
            f" (95 % interval {low:.0%} to {high:.0%}; a coin has 50 %)"
        )
    if len(pairs) < _ENOUGH:
        caption += f"\nbelow {_ENOUGH} answers these numbers are mostly noise"
    rows = [(name, value, FEATURES[name]) for name, value in learnt["likes"].items()]
    if not rows:
        return f"{caption}\n`spy prefs collect` shows trades to judge"
    return rich_table(
        ("feature", "log odds", "what it is"),
        rows,
        title="What is liked about a trade",
        caption=caption,
    )


def register(root: typer.Typer) -> None:
    """Add ``prefs`` and its commands."""
    root.add_typer(app, name="prefs")
