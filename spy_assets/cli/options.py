"""``spy chain`` and ``spy price``: real chains and model prices on the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spy_assets.cli.terminal import AsJson, Terminal, begin
from spy_assets.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from spy_assets.cli.option_inputs import Carry

STRIKES = 10

Rate = Annotated[
    str | None,
    typer.Option(
        metavar="DECIMAL",
        help="Interest per year, continuous, 0.036 or 3.6%; the lake's last by default.",
    ),
]
Yield = Annotated[
    str | None,
    typer.Option(
        "--yield",
        metavar="DECIMAL",
        help="Dividend yield per year, continuous; by default of the lake's last year.",
    ),
]
Picture = Annotated[
    Path | None, typer.Option(help="Also draw into this file: .html, .png or .svg.")
]


def chain(
    ctx: typer.Context,
    symbol: Annotated[str, typer.Argument(help="Underlying, for instance SPY.")],
    date: Annotated[
        str | None, typer.Option(help="Session, as 2026-07-31; the last by default.")
    ] = None,
    expiry: Annotated[
        str | None, typer.Option(help="Expiry, as 2026-08-21; the nearest by default.")
    ] = None,
    root: Annotated[
        str | None, typer.Option(help="Option root where there are several, as SPXW.")
    ] = None,
    strikes: Annotated[
        int, typer.Option(min=1, help="Strikes on each side of the money.")
    ] = STRIKES,
    every: Annotated[bool, typer.Option("--all", help="Show all strikes.")] = False,
    file: Annotated[
        Path | None,
        typer.Option(help="Read this drop (folder, DAY.parquet or Cboe's JSON), not the lake."),
    ] = None,
    rate: Rate = None,
    dividend_yield: Yield = None,
    spot: Annotated[
        float | None, typer.Option(help="With --file: price of the underlying, if known.")
    ] = None,
    picture: Picture = None,
    as_json: AsJson = False,
) -> None:
    """Show an option chain: calls on the left, strikes in the middle, puts on the right.

    The chain is the lake's, with its volatilities and Greeks; with --file it is read, cleaned and
    analysed from a drop, at the rate and the yield given. In-the-money contracts are shaded, the strike
    at the money is marked. --picture draws the expiry's smile and the fit to it; into an .html also the
    surface that was fitted to the whole chain, its term structure and further smiles.
    """
    from spy_assets.cli import option_chains
    from spy_assets.cli.option_inputs import (
        day_of,
        is_page,
        require_picture_path,
        write_album,
        write_picture,
    )
    from spy_assets.cli.option_tables import chain_text
    from spy_assets.cli.tables import json_rows

    terminal = begin(ctx, as_json=as_json)
    require_picture_path(picture)
    day = day_of(date, "--date") if date else None
    chosen = day_of(expiry, "--expiry") if expiry else None
    name = symbol.strip().upper()
    if file is None:
        _only_with_file(rate=rate, dividend_yield=dividend_yield, spot=spot)
        snapshot = option_chains.from_lake(terminal, name, day)
    else:
        market = (*_rates(rate, dividend_yield), spot)
        snapshot = _from_drop(terminal, file, name, day, market)
    wanted = None if every else strikes
    view = option_chains.view_of(
        snapshot, expiry=chosen, root=root.upper() if root else None, strikes=wanted
    )
    document = option_chains.as_document(
        view, lambda frame: json_rows(frame.columns, frame.iter_rows())
    )
    if picture is not None:
        drawn = option_chains.fitted(view)
        if is_page(picture):
            write_album(picture, drawn.album(), f"{name} {snapshot.session}")
        else:
            write_picture(picture, drawn.smile())
        document |= {"picture": picture, "fit_errors": drawn.fit.errors._asdict()}
    terminal.emit(document, lambda: chain_text(view, terminal.out.width))
    _tell_picture(terminal, picture)


def _rates(rate: str | None, dividend_yield: str | None) -> tuple[float | None, float | None]:
    """The numbers of ``--rate`` and ``--yield``."""
    from spy_assets.cli.option_units import MOST_RATE, decimal_of

    return (
        None if rate is None else decimal_of(rate, "--rate", most=MOST_RATE),
        None if dividend_yield is None else decimal_of(dividend_yield, "--yield", most=MOST_RATE),
    )


def _only_with_file(**given: object) -> None:
    named = [name for name, value in given.items() if value is not None]
    if named:
        options = ", ".join(
            "--yield" if name == "dividend_yield" else f"--{name}" for name in named
        )
        raise ConfigError(
            f"{options}: the lake's chains have their volatilities already",
            hint=f"leave out {options}, or give --file",
        )


def _from_drop(
    terminal: Terminal, path: Path, symbol: str, day: Any, market: tuple[float | None, ...]
) -> Any:
    from spy_assets import clock
    from spy_assets.cli.option_chains import analysed, raw_from_drop
    from spy_assets.cli.option_inputs import carry_of, require_number
    from spy_assets.sessions import session_close

    now = clock.utc_now()
    rate, dividend_yield, spot = market
    if spot is not None:
        require_number(spot, "--spot", positive=True)
    with terminal.guarded_stdout():
        raw, session = raw_from_drop(path.expanduser(), symbol, day, now=now)
        at = min(now, session_close(session))
        carry = carry_of(terminal, symbol, at, rate=rate, dividend_yield=dividend_yield)
        return analysed(raw, symbol, session, carry, spot=spot, now=now)


def price(
    ctx: typer.Context,
    contract: Annotated[
        str | None, typer.Argument(help="OCC symbol, for instance SPY260821C00750000.")
    ] = None,
    structure: Annotated[
        str | None, typer.Option(help="A structure instead, for instance iron_condor.")
    ] = None,
    expiry: Annotated[
        str | None, typer.Option(help="Expiry of the structure, as 2026-08-21.")
    ] = None,
    root: Annotated[str, typer.Option(help="Option root of the structure.")] = "SPY",
    width: Annotated[
        float, typer.Option(min=0.001, help="Dollars between the structure's strikes.")
    ] = 5.0,
    step: Annotated[float, typer.Option(min=0.001, help="Dollars between listed strikes.")] = 1.0,
    spot: Annotated[float | None, typer.Option(help="Price of the underlying.")] = None,
    vol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DECIMAL", help="Volatility per year, 0.15 or 15%; once, or once for each leg."
        ),
    ] = None,
    market_price: Annotated[
        float | None,
        typer.Option("--price", help="Price of the contract, to find its implied volatility."),
    ] = None,
    rate: Rate = None,
    dividend_yield: Yield = None,
    dividend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATE:CASH",
            help="Ex-date and dollars per share, as 2026-09-18:1.95; may be given several times.",
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Moment of the price, as 2026-07-31T20:00Z; now by default.")
    ] = None,
    american: Annotated[
        bool | None,
        typer.Option("--american/--european", help="Exercise; by the root's rule by default."),
    ] = None,
    picture: Picture = None,
    as_json: AsJson = False,
) -> None:
    """Price one contract, or one structure around the spot, with Greeks, risk and breakevens.

    With --price the implied volatility is found instead, and why there is none if there is none. Nothing
    is assumed: without a volatility or a price, or without rate and yield, there is no answer. With
    --dividend an American contract's early exercise before an ex-date is part of its price.
    """
    from spy_assets import clock
    from spy_assets.cli import option_prices
    from spy_assets.cli.option_inputs import (
        dividends_of,
        moment_of,
        require_number,
        require_picture_path,
        write_picture,
    )
    from spy_assets.cli.option_tables import price_text
    from spy_assets.cli.option_units import MOST_VOLATILITY, decimal_of

    terminal = begin(ctx, as_json=as_json)
    require_picture_path(picture)
    _require_one_way(vol, market_price)
    volatilities = [decimal_of(text, "--vol", most=MOST_VOLATILITY) for text in vol or []]
    if spot is None:
        raise ConfigError("--spot is missing", hint="give the underlying's price, like --spot 748")
    require_number(spot, "--spot", positive=True)
    if market_price is not None:
        require_number(market_price, "--price")
    legs, title = _legs(contract, structure, expiry, spot=spot, grid=(root, width, step))
    moment = moment_of(at, clock.utc_now())
    dividends = dividends_of(dividend or [], moment, spot)
    listed = legs[0].contract.root
    question = option_prices.Question(
        title=title,
        legs=legs,
        spot=spot,
        at=moment,
        term=option_prices.term_of(legs, moment),
        carry=_carry(terminal, listed, moment, _rates(rate, dividend_yield), cash=bool(dividends)),
        american=option_prices.is_american(listed) if american is None else american,
        dividends=dividends,
    )
    with terminal.guarded_stdout():
        if market_price is None:
            priced = option_prices.value(question, volatilities)
        else:
            priced = option_prices.value_from_price(question, market_price)
        document = option_prices.as_document(priced)
        if picture is not None:
            write_picture(picture, option_prices.payoff_of(priced))
            document["picture"] = picture
    terminal.emit(document, lambda: price_text(priced, terminal.out.width))
    _tell_picture(terminal, picture)


def _carry(
    terminal: Terminal,
    root: str,
    at: datetime,
    given: tuple[float | None, float | None],
    *,
    cash: bool,
) -> Carry:
    """Rate and yield; dividends in cash take the place of a yield that is not given."""
    from spy_assets.cli.option_inputs import carry_of
    from spy_assets.cli.option_prices import underlying_root

    rate, paid = given
    instead = cash and paid is None
    found = carry_of(
        terminal,
        underlying_root(root),
        at,
        rate=rate,
        dividend_yield=0.0 if instead else paid,
    )
    return replace(found, yield_from="the dividends in cash instead") if instead else found


def _require_one_way(vol: list[str] | None, market_price: float | None) -> None:
    if not vol and market_price is None:
        raise ConfigError(
            "neither --vol nor --price is given: no volatility is assumed",
            hint="give --vol 0.15, or --price 3.20 to find the implied volatility",
        )
    if vol and market_price is not None:
        raise ConfigError("--vol and --price exclude each other", hint="leave one out")


def _legs(
    contract: str | None,
    structure: str | None,
    expiry: str | None,
    *,
    spot: float,
    grid: tuple[str, float, float],
) -> tuple[Any, str]:
    """The legs and the title."""
    from spy_assets.cli.option_inputs import day_of
    from spy_assets.cli.option_prices import contract_legs, structure_legs
    from spy_assets.options.structures import display_symbol, structure_named

    if (contract is None) == (structure is None):
        raise ConfigError(
            "give one contract, or one --structure",
            hint="spy price SPY260821C00750000 …, or spy price --structure iron_condor …",
        )
    if contract is not None:
        if expiry is not None:
            raise ConfigError(
                "--expiry is the structure's; the contract has its own", hint="drop it"
            )
        legs = contract_legs(contract)
        return legs, f"{legs[0].contract.display}  {legs[0].contract.compact}"
    if expiry is None:
        raise ConfigError("--structure needs --expiry", hint="give --expiry 2026-08-21")
    name = str(structure).replace("-", "_").lower()
    root, width, step = grid
    day = day_of(expiry, "--expiry")
    legs = structure_legs(name, spot, day, root=root.upper(), width=width, step=step)
    return legs, f"{structure_named(name).title}  {display_symbol(name, legs)}"


def _tell_picture(terminal: Terminal, picture: Path | None) -> None:
    if picture is not None and not terminal.as_json:
        terminal.out.print(f"picture {picture}", style="dim", soft_wrap=True, highlight=False)


def register(app: typer.Typer) -> None:
    """Add ``chain`` and ``price``."""
    for command in (chain, price):
        app.command()(command)
