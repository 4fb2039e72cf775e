"""``spy up``: the Dagster UI and daemon and the MLflow UI, as one thing to start and stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spy_assets.cli.terminal import AsJson, Terminal, begin
from spy_assets.errors import ConfigError, SpyError

if TYPE_CHECKING:
    from spy_assets.cli.services import Service
    from spy_assets.settings import Settings

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 240.0
_WATCH_S = 0.5
#: The daemon has no address of its own; the webserver tells whether it sees its heartbeat.
_HEALTH_QUERY = (
    "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
)
_LOCATION_QUERY = """{ workspaceOrError { ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""


def up(
    ctx: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI.")] = 3000,
    mlflow_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the MLflow UI.")
    ] = 5000,
    no_mlflow: Annotated[bool, typer.Option("--no-mlflow", help="Start only Dagster.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start the Dagster UI and daemon and the MLflow UI; Ctrl-C stops them all.

    They listen on 127.0.0.1 only: none of them has a login. Logs are in the profile's logs/ folder.
    With --json, one document is printed when all are up.
    """
    from spy_assets.cli.services import child_environment, stop_all
    from spy_assets.dagster_home import create_storage, prepare_dagster_home

    terminal = begin(ctx, as_json=as_json)
    settings = terminal.settings
    _require_free({"--port": port} | ({} if no_mlflow else {"--mlflow-port": mlflow_port}))
    home = prepare_dagster_home(settings)
    create_storage(settings)
    programs = services(settings, port, None if no_mlflow else mlflow_port)
    environment = child_environment({"DAGSTER_HOME": str(home), **_profile_of(settings)})
    stop = threading.Event()
    previous = _stop_on_signals(stop)
    try:
        for service in programs:
            service.start(environment)
        if _await_all(terminal, programs, stop):
            _announce(terminal, programs, settings)
            _watch(programs, stop)
    finally:
        # A second Ctrl-C must not leave half of them running.
        killed = stop_all(programs)
        for number, handler in previous.items():
            signal.signal(number, handler)
    note = f" (killed {len(killed)} that did not end)" if killed else ""
    terminal.err.print(f"stopped{note}", style="dim")


def services(settings: Settings, port: int, mlflow_port: int | None) -> list[Service]:
    """The programs to run, in order of start."""
    from spy_assets.cli.services import Service, program

    logs = settings.root / "logs"
    where = _workspace()
    ui = f"http://{LOOPBACK}:{port}"
    webserver = program("dagster_webserver", "-h", LOOPBACK, "-p", str(port), *where)
    programs = [
        Service("Dagster UI", webserver, logs / "webserver.log", f"{ui}/server_info", ui),
        Service("Dagster daemon", program("dagster._daemon", "run", *where), logs / "daemon.log"),
    ]
    if mlflow_port is not None:
        programs.append(_mlflow(settings, mlflow_port))
    return programs


def _mlflow(settings: Settings, port: int) -> Service:
    from spy_assets.cli.services import Service, program

    folder = settings.mlruns_dir
    folder.mkdir(parents=True, exist_ok=True)
    # Not MLFLOW_TRACKING_URI: MLflow sets it by itself in a process that used another registry.
    store = f"sqlite:///{folder / 'mlflow.db'}"
    url = f"http://{LOOPBACK}:{port}"
    command = program(
        "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        "--backend-store-uri", store, "--artifacts-destination", (folder / "artifacts").as_uri(),
    )  # fmt: skip
    return Service(
        "MLflow UI", command, settings.root / "logs" / "mlflow.log", f"{url}/health", url
    )


def _workspace() -> list[str]:
    """Where the definitions are: the checkout's workspace.yaml, else the installed module."""
    from spy_assets.settings import PROJECT_ROOT

    file = PROJECT_ROOT / "workspace.yaml"
    return ["-w", str(file)] if file.is_file() else ["-m", "spy_assets.definitions"]


def _profile_of(settings: Settings) -> dict[str, str]:
    """What the children need to open the same profile, and no telemetry."""
    return {
        "SPY_HOME": str(settings.home),
        "SPY_SOURCE": settings.source,
        "SPY_PROFILE": settings.profile_name,
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(settings.numba_cache)),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that serve nothing here
        "DO_NOT_TRACK": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }


def _require_free(ports: dict[str, int]) -> None:
    from spy_assets.cli.checks import port_holder

    if len(set(ports.values())) < len(ports):
        raise ConfigError(f"both services would use port {ports['--port']}", hint="give two ports")
    for option, port in ports.items():
        holder = port_holder(port)
        if holder is not None:
            raise ConfigError(
                f"port {port} is taken by {holder}",
                hint=f"stop it, or choose another port with {option}",
            )


def _stop_on_signals(stop: threading.Event) -> dict[signal.Signals, Any]:
    """Ctrl-C and SIGTERM only ask to stop, so that the clean-up is never cut short."""
    return {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }


def _await_all(terminal: Terminal, programs: Sequence[Service], stop: threading.Event) -> bool:
    """Wait until all answer; False if asked to stop meanwhile."""
    waiting = list(programs)
    deadline = time.monotonic() + START_TIMEOUT_S
    with terminal.err.status("starting") as status:
        while waiting and not stop.is_set():
            names = ", ".join(service.name for service in waiting)
            status.update(f"waiting for {names}")
            waiting = [service for service in waiting if not _is_up(service, programs[0])]
            if waiting and time.monotonic() > deadline:
                raise _too_slow(waiting[0])
            stop.wait(_WATCH_S if waiting else 0.0)
    return not stop.is_set()


def _too_slow(service: Service) -> SpyError:
    from spy_assets.cli.services import ServiceFailed

    return ServiceFailed(
        f"{service.name} did not answer within {START_TIMEOUT_S:g} s:\n{service.tail()}",
        hint=f"the whole log is {service.log}",
    )


def _is_up(service: Service, webserver: Service) -> bool:
    service.check()
    if service.ready_url is not None:
        return service.answers()
    return _daemon_beats(webserver)


def _daemon_beats(webserver: Service) -> bool:
    found = _graphql(webserver, _HEALTH_QUERY)
    if found is None:
        return False
    statuses = found["instance"]["daemonHealth"]["allDaemonStatuses"]
    return all(status["healthy"] for status in statuses if status["required"])


def location_errors(webserver: Service) -> list[str]:
    """What the code locations said when they could not be loaded."""
    found = _graphql(webserver, _LOCATION_QUERY) or {}
    entries = found.get("workspaceOrError", {}).get("locationEntries", [])
    return [
        f"{entry['name']}: {entry['locationOrLoadError']['message']}"
        for entry in entries
        if (entry["locationOrLoadError"] or {}).get("__typename") == "PythonError"
    ]


def _graphql(webserver: Service, query: str) -> dict[str, Any] | None:
    import httpx

    try:
        answer = httpx.post(
            f"{webserver.url}/graphql", json={"query": query}, timeout=10.0, trust_env=False
        )
    except httpx.HTTPError:
        return None
    data = answer.json().get("data") if answer.is_success else None
    return data if isinstance(data, dict) else None


def _announce(terminal: Terminal, programs: Sequence[Service], settings: Settings) -> None:
    for problem in location_errors(programs[0]):
        terminal.err.print(f"the graph does not load: {problem}", style="red", markup=False)
    pids = {service.name: service.process.pid for service in programs if service.process}
    urls = {service.name: service.url for service in programs if service.url}
    answer = {
        "profile": settings.profile_name,
        "urls": urls,
        "pids": pids,
        "logs": settings.root / "logs",
    }
    lines = [f"{name:<10} {url}" for name, url in urls.items()]
    terminal.emit(
        answer,
        lambda: "\n".join([*lines, f"{'logs':<10} {settings.root / 'logs'}", "Ctrl-C stops all"]),
    )


def _watch(programs: Sequence[Service], stop: threading.Event) -> None:
    """Return when asked to stop; raise if a program ends by itself."""
    while not stop.wait(_WATCH_S):
        for service in programs:
            service.check()


def register(app: typer.Typer) -> None:
    """Add ``up``."""
    app.command()(up)
