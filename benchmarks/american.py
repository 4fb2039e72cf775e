"""American options beside QuantLib's QdFpAmericanEngine, in one process, on one thread, in turn.

python benchmarks/american.py [--contracts 1500] [--rounds 3]

Contracts like SPY's: spot 688.12, strikes of 0.5 to 1.5 of it, 1 day to 2 years (log-uniform), rates
of 0.5 to 5.5 %, yields of 0.9 to 1.9 %, volatility of 8 to 90 %, calls and puts. QuantLib's options
and engines are built before the clock starts; only ``NPV()`` is timed. Errors are against a QdFp
scheme with 30 nodes, 30 iterations and tanh-sinh integrals to 1e-10.

Targets: 2 times as fast as QdFp "fast" with an error of at most 5e-3; 3 times (at least 1.5) as fast
as QdFp "accurate" with an error of at most 1e-3. With cash dividends: QuantLib's finite differences,
500 x 500.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import QuantLib as ql  # noqa: N813 - the name in all of its documentation
from measuring import Figure, report

from spy_assets.options import american
from spy_assets.options.american import CashDividend

SPOT = 688.12
DIVIDENDS = [CashDividend(days / 365.0, 1.9) for days in (20, 111, 202, 293, 384, 475, 566, 657)]
Book = dict[str, np.ndarray]


def contracts(count: int) -> Book:
    chance = np.random.default_rng(1)
    days = np.exp(chance.uniform(0.0, np.log(730.9), count)).astype(int)
    return {
        "strike": np.round(SPOT * chance.uniform(0.5, 1.5, count)),
        "years": days / 365.0,
        "rate": chance.uniform(0.005, 0.055, count),
        "dividend_yield": chance.uniform(0.009, 0.019, count),
        "volatility": chance.uniform(0.08, 0.9, count),
        "right": np.where(chance.random(count) < 0.5, "C", "P"),
    }


def quantlib_options(book: Book, engine: Callable[..., object]) -> list[ql.VanillaOption]:
    """Options ready to be asked for their price; ``engine`` takes the process."""
    today, count = ql.Date(15, 5, 2024), ql.Actual365Fixed()
    ql.Settings.instance().evaluationDate = today
    options = []
    for strike, years, rate, carry, volatility, right in zip(*book.values(), strict=True):
        process = ql.BlackScholesMertonProcess(
            ql.QuoteHandle(ql.SimpleQuote(SPOT)),
            ql.YieldTermStructureHandle(ql.FlatForward(today, float(carry), count)),
            ql.YieldTermStructureHandle(ql.FlatForward(today, float(rate), count)),
            ql.BlackVolTermStructureHandle(
                ql.BlackConstantVol(today, ql.NullCalendar(), float(volatility), count)
            ),
        )
        kind = ql.Option.Call if right == "C" else ql.Option.Put
        expiry = today + round(years * 365.0)
        option = ql.VanillaOption(
            ql.PlainVanillaPayoff(kind, float(strike)), ql.AmericanExercise(today, expiry)
        )
        option.setPricingEngine(engine(process))
        options.append(option)
    return options


def qdfp(scheme: object) -> Callable[..., object]:
    return lambda process: ql.QdFpAmericanEngine(process, scheme)


def differences(process: object) -> object:
    today = ql.Settings.instance().evaluationDate
    dates = [today + round(one.ex_years * 365.0) for one in DIVIDENDS]
    paid = ql.DividendVector(dates, [one.cash for one in DIVIDENDS])
    return ql.FdBlackScholesVanillaEngine(
        process, paid, 500, 500, 0, ql.FdmSchemeDesc.Douglas(), False, -1.0,
        ql.FdBlackScholesVanillaEngine.Spot,
    )  # fmt: skip


def asked(options: list[ql.VanillaOption]) -> np.ndarray:
    return np.array([option.NPV() for option in options])


class Race:
    """Contestants take turns; each keeps its last answer and its times per contract."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.took: dict[str, list[float]] = {}
        self.answer: dict[str, np.ndarray] = {}

    def lap(self, name: str, work: Callable[[], np.ndarray]) -> None:
        started = time.perf_counter()
        self.answer[name] = work()
        self.took.setdefault(name, []).append((time.perf_counter() - started) / self.size * 1e6)

    def microseconds(self, name: str) -> float:
        return statistics.median(self.took[name])

    def error(self, name: str, exact: np.ndarray) -> float:
        return float(np.abs(self.answer[name] - exact).max())

    def figures(self, name: str, exact: np.ndarray, at_most: float | None = None) -> list[Figure]:
        return [
            Figure(f"{name}: per contract", self.microseconds(name), "us"),
            Figure(f"{name}: largest error", self.error(name, exact) * 1e3, "1e-3", at_most),
        ]

    def share(self, ours: str, theirs: str, at_most: float | None) -> Figure:
        ratio = self.microseconds(ours) / self.microseconds(theirs)
        details = {"times_as_fast": 1.0 / ratio}
        return Figure(f"{ours} / {theirs} (1/{1 / ratio:.1f})", ratio, "x", at_most, details)


def yields(count: int, rounds: int) -> list[Figure]:
    book, race = contracts(count), Race(count)
    schemes = {
        "QdFp fast": ql.QdFpAmericanEngine.fastScheme(),
        "QdFp accurate": ql.QdFpAmericanEngine.accurateScheme(),
    }
    exact = asked(quantlib_options(book, qdfp(ql.QdFpTanhSinhIterationScheme(30, 30, 1e-10))))
    for preset in american.PRESETS:
        american.price(SPOT, *(x[:2] for x in book.values()), preset=preset)
    american.greeks(SPOT, *(x[:2] for x in book.values()))
    for _ in range(rounds):
        for name, scheme in schemes.items():
            options = quantlib_options(book, qdfp(scheme))
            race.lap(name, lambda options=options: asked(options))
        for preset in american.PRESETS:
            race.lap(preset, lambda p=preset: american.price(SPOT, *book.values(), preset=p))
        race.lap("accurate, Greeks", lambda: american.greeks(SPOT, *book.values()).price)
    most = {"fast": 5.0, "accurate": 1.0, "reference": 1.0}
    figures = [x for name in (*schemes, *most) for x in race.figures(name, exact, most.get(name))]
    return [
        *figures,
        Figure("price and Greeks: per contract", race.microseconds("accurate, Greeks"), "us"),
        race.share("fast", "QdFp fast", 1 / 2),
        race.share("accurate", "QdFp accurate", 1 / 3),
    ]


def dividends(count: int, rounds: int) -> list[Figure]:
    book, race = contracts(count), Race(count)
    book["dividend_yield"] = np.zeros(count)

    def ours(preset: american.Preset) -> np.ndarray:
        return american.price_with_dividends(SPOT, *book.values(), DIVIDENDS, preset=preset)

    exact = ours("reference")
    for _ in range(rounds):
        options = quantlib_options(book, differences)
        race.lap("QuantLib FD 500", lambda options=options: asked(options))
        race.lap("cash, fast", lambda: ours("fast"))
        race.lap("cash, accurate", lambda: ours("accurate"))
    names = ("QuantLib FD 500", "cash, fast", "cash, accurate")
    figures = [x for name in names for x in race.figures(name, exact)]
    return [*figures, race.share("cash, accurate", "QuantLib FD 500", None)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contracts", type=int, default=1500)
    parser.add_argument("--dividend-contracts", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    report(
        "american",
        f"American options beside QuantLib {ql.__version__} (one thread, medians)",
        yields(arguments.contracts, arguments.rounds)
        + dividends(arguments.dividend_contracts, arguments.rounds),
        "Errors in thousandths of a dollar, of a spot of 688.12.",
    )


if __name__ == "__main__":
    main()
