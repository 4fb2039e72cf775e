"""The one resource of the graph: settings, and the edges that they open."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from spy_assets import clock, sessions
from spy_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from spy_assets.market.sources import Source
    from spy_assets.registry import Registry
    from spy_assets.warehouse import Warehouse


class SpyResource(dg.ConfigurableResource[Any]):
    """Settings and the edges that they open, once per run.

    ``overrides`` win over the environment; ``now`` fixes the clock (ISO 8601 with a zone).
    """

    overrides: dict[str, Any] = Field(default_factory=dict)
    now: str | None = None
    _settings: Settings | None = PrivateAttr(None)
    _warehouse: Any = PrivateAttr(None)

    @property
    def settings(self) -> Settings:
        """The settings of this run."""
        if self._settings is None:
            self._settings = load_settings(**self.overrides)
        return self._settings

    def utc_now(self) -> datetime:
        """The present moment, or the fixed one."""
        if self.now is None:
            return clock.utc_now()
        return sessions.require_aware(datetime.fromisoformat(self.now))

    def source(self) -> "Source":
        """The market data source."""
        from spy_assets.market.sources import open_source

        return open_source(self.settings)

    def last_session(self) -> date:
        """The session that is decided for by default: set, the source's last, or the last decided."""
        if self.settings.as_of is not None:
            return self.settings.as_of
        if self.settings.historical:
            return self.source().last_session()
        return sessions.last_decided_session(self.utc_now())

    def as_of(self) -> datetime:
        """The decision time of :meth:`last_session`: later rows are not of its past."""
        return sessions.decision_time(self.last_session())

    def registry(self, model: str = "ppo_daily") -> "Registry":
        """The registry of a model, by its short name."""
        from spy_assets.registry import Registry

        return Registry(self.settings, model=model)

    @contextmanager
    def warehouse(self) -> Iterator["Warehouse"]:
        """The lake, attached once per run and kept open."""
        if self._warehouse is None:
            from spy_assets.warehouse import Warehouse

            self._warehouse = Warehouse.open(self.settings)
        yield self._warehouse

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Detach the lake."""
        if self._warehouse is not None:
            self._warehouse.close()
            self._warehouse = None
