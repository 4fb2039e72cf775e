"""What the UI shows of a table or a write: schemas, row counts, snapshot, small tables and plots."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from spy_assets.warehouse.tables import TABLES, TableSpec

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from spy_assets.warehouse import WriteResult

OWNERS = ["team:research"]
#: Metadata of what trains: environment steps made, and the seconds that training and test took.
ENV_STEPS = "env_steps"
TRAINING_SECONDS = "training_seconds"
#: A plot never takes more than this many points of a line; the UI stores it in every event.
_PLOT_POINTS = 600
#: A line of so few points shows them.
_FEW_POINTS = 30
_POSITIVE = "#2563eb"
_NEGATIVE = "#c2410c"


def table_metadata(table: str | TableSpec) -> dict[str, Any]:
    """Column names, types and meanings of a warehouse table, for the asset's page."""
    spec = TABLES[table] if isinstance(table, str) else table
    columns = [
        dg.TableColumn(name=column, type=kind, description=spec.column_docs.get(column))
        for column, kind in spec.all_columns.items()
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/table_name": spec.name,
        "key": ", ".join(spec.key),
    }


def column_lineage(name: str, upstream: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Lineage of a table whose columns carry the names of its upstream tables' columns.

    ``upstream`` maps a warehouse table to those of its columns that are read.
    """
    deps = [
        dg.TableColumnDep(asset_key=dg.AssetKey(table.split(".")), column_name=column)
        for table, columns in upstream.items()
        for column in columns
    ]
    spec = TABLES[name]
    lineage = {
        column: [dep for dep in deps if dep.column_name == column] or deps
        for column in spec.payload
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps_by_column=lineage)}


def write_metadata(result: WriteResult) -> dict[str, Any]:
    """Counts and the lake's snapshot of a write."""
    return {
        "dagster/row_count": result.inserted + result.revised + result.unchanged,
        "inserted": result.inserted,
        "revised": result.revised,
        "unchanged": result.unchanged,
        "lake_snapshot": result.snapshot_id,
    }


def dbt_test_in_words(test: Mapping[str, Any]) -> str | None:
    """What one of the project's generic dbt tests holds, for the check's page."""
    kind = test.get("test_metadata", {})
    given = kind.get("kwargs", {})
    columns = ", ".join(given.get("columns", []))
    match kind.get("name"):
        case "unique_key":
            return f"No two rows share {columns}."
        case "complete":
            return f"Never null: {columns}."
        case "explained_nulls":
            return f"Every null has its reason in `quality`: {columns}."
        case "within":
            ranges = [_range(name, *ends) for name, ends in given["ranges"].items()]
            return f"In range where not null: {'; '.join(ranges)}."
        case "accepted_regimes":
            return f"One of {', '.join(given['names'])}."
    return None


def _range(name: str, low: float | None, high: float | None) -> str:
    if high is None:
        return f"{name} from {low}"
    return f"{name} to {high}" if low is None else f"{name} {low} to {high}"


def table(frame: pl.DataFrame, rows: int = 12) -> dg.MetadataValue:
    """The last rows of a frame as a Markdown table."""
    shown = frame.tail(rows)
    head = "| " + " | ".join(shown.columns) + " |"
    rule = "|" + "---|" * len(shown.columns)
    body = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in shown.iter_rows()]
    return dg.MetadataValue.md("\n".join([head, rule, *body]))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else str(value).replace("|", "/")


def line_plot(
    frame: pl.DataFrame, x: str, columns: Sequence[str], title: str, *, ylabel: str = ""
) -> dg.MetadataValue:
    """A line plot of some columns as an embedded picture."""
    figure, axes = _figure(title)
    axes.set_ylabel(ylabel, fontsize=8)
    axes.set_xlabel("" if frame.schema[x].is_temporal() else x, fontsize=8)
    step = max(1, frame.height // _PLOT_POINTS)
    thin = frame.gather_every(step)
    marker = "o" if thin.height <= _FEW_POINTS else ""
    for column in columns:
        axes.plot(
            thin[x].to_list(),
            thin[column].to_list(),
            linewidth=1.1,
            marker=marker,
            markersize=3,
            label=column,
        )
    if len(columns) > 1:
        axes.legend(frameon=False, fontsize=8)
    return picture(figure)


def bar_plot(labels: Sequence[str], values: Sequence[float], title: str) -> dg.MetadataValue:
    """Horizontal bars with their values, the first on top, as an embedded picture."""
    figure, axes = _figure(title, height=0.9 + 0.26 * len(labels))
    colours = [_NEGATIVE if value < 0 else _POSITIVE for value in values]
    bars = axes.barh(list(labels), list(values), color=colours, height=0.7)
    shown = [f"{value:,.2f}".removesuffix(".00") for value in values]
    axes.bar_label(bars, shown, padding=3, fontsize=8)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.axvline(0, color="#57606a", linewidth=0.8)
    axes.grid(visible=False, axis="y")
    return picture(figure)


def _figure(title: str, height: float = 2.8) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, height), dpi=90, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(visible=True, alpha=0.25)
    return figure, axes


def picture(figure: Figure) -> dg.MetadataValue:
    """A matplotlib figure as Markdown with the PNG inside."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{encoded})")
