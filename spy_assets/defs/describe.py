"""What the UI shows of a table or a write: schemas, row counts, snapshot, small tables and plots."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from spy_assets.warehouse import WriteResult

OWNERS = ["team:research"]
#: A plot never takes more than this many points of a line; the UI stores it in every event.
_PLOT_POINTS = 600


def table_metadata(name: str) -> dict[str, Any]:
    """Column names, types and meanings of a warehouse table, for the asset's page."""
    spec = TABLES[name]
    columns = [
        dg.TableColumn(name=column, type=kind, description=spec.column_docs.get(column))
        for column, kind in spec.all_columns.items()
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/table_name": name,
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


def write_metadata(*results: WriteResult) -> dict[str, Any]:
    """Counts and the lake's snapshot of one or more writes."""
    return {
        "dagster/row_count": sum(result.inserted + result.revised for result in results),
        "inserted": sum(result.inserted for result in results),
        "revised": sum(result.revised for result in results),
        "unchanged": sum(result.unchanged for result in results),
        "lake_snapshot": max(result.snapshot_id for result in results),
    }


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
    figure, axes = _figure(title, ylabel)
    step = max(1, frame.height // _PLOT_POINTS)
    thin = frame.gather_every(step)
    for column in columns:
        axes.plot(thin[x].to_list(), thin[column].to_list(), linewidth=1.1, label=column)
    if len(columns) > 1:
        axes.legend(frameon=False, fontsize=8)
    return picture(figure)


def bar_plot(labels: Sequence[str], values: Sequence[float], title: str) -> dg.MetadataValue:
    """A bar plot as an embedded picture."""
    figure, axes = _figure(title, "")
    axes.bar(list(labels), list(values), color="#2563eb")
    axes.tick_params(axis="x", labelrotation=30)
    return picture(figure)


def _figure(title: str, ylabel: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 2.8), dpi=90, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    axes.set_ylabel(ylabel, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    return figure, axes


def picture(figure: Figure) -> dg.MetadataValue:
    """A matplotlib figure as Markdown with the PNG inside."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{encoded})")
