"""The look-ahead audit over every feature column, Python and SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl
import pytest

from spy_assets.features.lookahead import AuditReport, audit
from spy_assets.warehouse.dbt_sql import FEATURE_TABLES, CompiledModel, compute_features
from spy_assets_tests.dbt.conftest import Tables


def run(raw: Tables, models: list[CompiledModel]) -> AuditReport:
    def compute(tables: Mapping[str, pl.DataFrame]) -> Tables:
        return compute_features(tables, models)

    return audit(compute, raw)


def with_sql(models: list[CompiledModel], table: str, old: str, new: str) -> list[CompiledModel]:
    """Staging and one model, with a piece of its SQL replaced."""
    staging = [model for model in models if model.table.startswith("features_stg.")]
    target = next(model for model in models if model.table == table)
    assert old in target.sql
    return [*staging, replace(target, sql=target.sql.replace(old, new))]


@pytest.mark.slow
def test_no_feature_sees_the_future(raw: Tables, models: list[CompiledModel]) -> None:
    report = run(raw, models)
    assert report.leaking_columns == {}
    assert report.columns > 150


def test_every_table_is_audited(features: Tables) -> None:
    assert set(features) == set(FEATURE_TABLES)
    assert all(frame.height for frame in features.values())


@pytest.mark.slow
def test_a_planted_lead_is_found(raw: Tables, models: list[CompiledModel]) -> None:
    honest = "close_adjusted / lag(close_adjusted, 5)"
    leaking = honest.replace("close_adjusted /", "lead(close_adjusted, 1) over history /")
    report = run(raw, with_sql(models, "features.daily_15", honest, leaking))
    found = report.leaking_columns
    assert set(found) == {"features.daily_15.mom5", "features.daily_15.quality"}
    assert found["features.daily_15.mom5"] == min(report.cuts)


@pytest.mark.slow
def test_a_rate_before_its_release_is_found(raw: Tables, models: list[CompiledModel]) -> None:
    honest = "asked.decided_at >= rates.available_at"
    leaking = honest.replace("decided_at", "decided_at + interval 1 day")
    report = run(raw, with_sql(models, "features.daily_15", honest, leaking))
    assert "features.daily_15.rate" in report.leaking_columns
