"""``spy walkforward`` and ``spy plan``: the walk-forward, and what backfills cost before they start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from spy_assets.cli.columns import Column, dollars, fitted_table, percent
from spy_assets.cli.terminal import AsJson, begin, environment

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spy_assets.backfill import WalkReport
    from spy_assets.plan_cost import Cost, Which

Timesteps = Annotated[
    int | None, typer.Option(min=1, help="Environment steps per seed; the preset's by default.")
]
Seeds = Annotated[
    int | None, typer.Option(min=1, max=50, help="Number of seeds; the preset's by default.")
]
TrainPreset = Annotated[
    str | None, typer.Option(help="Training preset; SPY_TRAIN__PRESET by default.")
]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Windows: s0, expanding, yearly or yearly_expanding; SPY_WALK__PRESET by default."
    ),
]
Years = Annotated[
    float | None,
    typer.Option(min=0.1, help="Only the last folds: as many as so many years have."),
]
Clock = Annotated[
    Literal["daily", "intraday"],
    typer.Option(help="Of days, or the short-premium plan over minute bars at a model's prices."),
]
OnlyFailed = Annotated[
    bool, typer.Option("--only-failed", help="Only partitions whose last run failed.")
]


def walkforward(
    ctx: typer.Context,
    clock: Clock = "daily",
    preset: Preset = None,
    years: Years = None,
    timesteps: Timesteps = None,
    seeds: Seeds = None,
    train_preset: TrainPreset = None,
    only_failed: OnlyFailed = False,
    final: Annotated[
        bool,
        typer.Option("--final", help="Then test on the final period: once, and none after it."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train and test fold after fold, and print the policy beside every baseline, whatever that says.

    Folds that are there already for the same configuration are left; a run that was stopped goes on.
    """
    if clock == "intraday" and (final or preset or train_preset):
        raise typer.BadParameter(
            "--final, --preset and --train-preset are of the daily clock; SPY_INTRADAY__… sets the rest"
        )
    training = _training(timesteps, seeds, train_preset)
    ctx.with_resource(environment(_walk_environment(preset)))
    terminal = begin(ctx, as_json=as_json)
    with terminal.guarded_stdout():
        from spy_assets import backfill

        which: Which = "failed" if only_failed else "missing"
        report = backfill.walk_forward(
            terminal.settings,
            terminal.out,
            years=years,
            which=which,
            training=training,
            final=final,
            clock=clock,
        )
    terminal.emit(report.to_json(), lambda: _report(report, terminal.out.width))


def plan(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            help="walk_forward, intraday_walk_forward, paths, training, signals, chains, or an "
            "asset's name."
        ),
    ],
    first: Annotated[
        str | None, typer.Option("--from", help="First partition; what is usual by default.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="Last partition; what is usual by default.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Take every n-th partition.")] = 1,
    preset: Preset = None,
    years: Years = None,
    timesteps: Timesteps = None,
    seeds: Seeds = None,
    train_preset: TrainPreset = None,
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="What is missing or failed; so by default.")
    ] = False,
    only_failed: OnlyFailed = False,
    everything: Annotated[
        bool, typer.Option("--all", help="What is there as well: it is made again.")
    ] = False,
    start: Annotated[bool, typer.Option("--run", help="Make it; a stopped one goes on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a backfill or sweep costs before it starts: partitions, training steps, minutes.

    Minutes are from recorded runs of this profile, else unknown. Nothing is made without --run.
    """
    if only_missing + only_failed + everything > 1:
        raise typer.BadParameter("--only-missing, --only-failed and --all exclude each other")
    which: Which = "failed" if only_failed else "all" if everything else "missing"
    training = _training(timesteps, seeds, train_preset)
    ctx.with_resource(environment(_walk_environment(preset)))
    terminal = begin(ctx, as_json=as_json)
    with terminal.guarded_stdout():
        from spy_assets import backfill

        request = backfill.Request(target, which, first, last, every, years, training)
        found = backfill.cost(terminal.settings, terminal.out, request)
        if start:
            if not as_json:
                terminal.out.print(_cost(found))
            backfill.backfill(terminal.settings, terminal.out, request)
    terminal.emit(found.to_json() | {"made": start}, lambda: _told(found, start))


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (walkforward, plan):
        app.command()(command)


def _training(timesteps: int | None, seeds: int | None, train_preset: str | None) -> dict[str, Any]:
    """What is given of a training; a wrong preset is told before anything runs."""
    if train_preset is not None:
        from spy_assets.settings import load_settings

        load_settings(train={"preset": train_preset})
    given = {"timesteps": timesteps, "seeds": seeds, "preset": train_preset}
    return {name: value for name, value in given.items() if value is not None}


def _walk_environment(preset: str | None) -> Mapping[str, str]:
    """The windows decide the partitions, which are fixed when the graph is imported."""
    return {} if preset is None else {"SPY_WALK__PRESET": preset}


def _told(cost: Cost, started: bool) -> RenderableType:
    return f"{len(cost.partitions)} partition(s) made" if started else _cost(cost)


def _cost(cost: Cost) -> RenderableType:
    from rich.table import Table

    table = Table(title=f"plan: {cost.asset}", show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("partitions", f"{cost.total} asked for: {cost.present} present, "
                  f"{cost.missing} missing, {cost.failed} failed")  # fmt: skip
    table.add_row("to make", f"{len(cost.partitions)} ({cost.which}){_span(cost)}")
    if cost.training_steps is not None:
        table.add_row("training steps", f"{cost.training_steps:,}")
    minutes = "unknown" if cost.minutes is None else f"{cost.minutes:,.1f}"
    table.add_row("minutes", minutes)
    table.add_row("from", cost.basis)
    return table


def _span(cost: Cost) -> str:
    parts = cost.partitions
    return f": {parts[0]} to {parts[-1]}" if parts else ""


def _report(report: WalkReport, width: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    figures, words = report.figures, f"{report.preset}, configuration {report.configuration}"
    parts: list[Any] = [_strategies(f"walk-forward {words}", figures, width)]
    deflated = figures["deflated_sharpe"]
    notes = [
        figures["verdict"],
        f"{figures['folds']} folds, {figures['first']} to {figures['last']}; {report.made} made now; "
        f"{figures['trials']} trial(s), deflated Sharpe probability "
        + ("–" if deflated is None else f"{deflated:.3f}"),
        f"tearsheet {report.tearsheet}",
    ]
    parts.append(Text("\n".join(notes)))
    if report.final is not None:
        parts += [
            _strategies(f"final period {words}", report.final, width),
            Text(report.final["verdict"]),
        ]
    return Group(*parts)


STRATEGIES: Final = (
    Column("strategy", "strategy"),
    Column("net_pnl", "net P&L", dollars, "right"),
    Column("avg_return", "avg", percent, "right", leaves=3),
    Column("std_return", "std", percent, "right", leaves=6),
    Column("min_return", "min", percent, "right", leaves=4),
    Column("max_return", "max", percent, "right", leaves=5),
    Column("avg_sharpe", "Sharpe", dollars, "right", leaves=1),
    Column("avg_drawdown", "avg DD", percent, "right", leaves=7),
    Column("worst_drawdown", "worst DD", percent, "right", leaves=2),
    Column("trades", "trades", "{:,}".format, "right"),
    Column("lead_words", "lead, $ a session", str, "right"),
)


def _strategies(title: str, figures: Mapping[str, Any], width: int) -> RenderableType:
    """The policy beside every baseline; its lead over each with the interval."""
    import polars as pl

    rows = [row | {"lead_words": _lead(row)} for row in figures["strategies"]]
    return fitted_table(pl.DataFrame(rows), STRATEGIES, width, title=title)


def _lead(row: Mapping[str, Any]) -> str | None:
    if row["lead"] is None:
        return None
    return f"{row['lead']:,.2f} ({row['lead_low']:,.2f} to {row['lead_high']:,.2f})"
