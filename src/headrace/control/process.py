"""Builds and runs the control plane: store, control loop, run controller and API in one process.

Replicas and runs outlive it.
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fastapi import FastAPI

from headrace.control.api.app import build_app
from headrace.control.api.context import Context
from headrace.control.api.serve import serve
from headrace.control.api.to_response import ResponseBuilder
from headrace.control.control_loop import ControlLoop, ControlLoopConfig, utc_now
from headrace.control.devices.gpus import VISIBLE, find_gpus
from headrace.control.history.current import CurrentMetrics
from headrace.control.history.recorder import HistoryRecorder
from headrace.control.history.usage_recorder import UsageRecorder
from headrace.control.launchers.container import ContainerLauncher
from headrace.control.launchers.factory import ContainerUse, make_launcher
from headrace.control.layout import Layout
from headrace.control.monitoring.targets import TargetFiles
from headrace.control.operations.keys import dashboard_key
from headrace.control.operations.secrets import read_secrets
from headrace.control.operations.tokens import replace_token
from headrace.control.pinned_certificate import first_certificate
from headrace.control.private_file import write_private
from headrace.control.processes.process_usage import ProcessUsageReader
from headrace.control.replicas.health.probes import Probes
from headrace.control.resources import Role
from headrace.control.retention.folders import Folders
from headrace.control.retention.gc_loop import GcLoop
from headrace.control.runs.run_controller import RunController
from headrace.control.runs.run_steps import RunSteps
from headrace.control.store.store import Store
from headrace.control.vault import Vault
from headrace.listen.origins import OriginPolicy
from headrace.listen.tls import TlsFiles

logger = logging.getLogger("headrace.control")

LOCAL_TOKEN_NAME = "local"
_MAX_NUM_THREADS = 32

AppExtension = Callable[[FastAPI, Context], None]
"""Adds routes to the API's application, such as those of the dashboard."""


@dataclass(frozen=True, slots=True)
class ControlPlaneOptions:
    layout: Layout
    port: int
    gateway_url: str
    """The gateway's address for clients."""
    gateway_admin_url: str
    database_url: str = field(repr=False)
    containers: ContainerUse = "auto"
    tls: TlsFiles | None = None
    """Of the API."""
    origins: OriginPolicy = OriginPolicy()
    """Hosts and origins that the API accepts."""

    @property
    def api_url(self) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"


async def run_control_plane(
    options: ControlPlaneOptions, extend_app: AppExtension | None = None
) -> None:
    """Run until SIGTERM or SIGINT. Raises HeadraceError if it cannot start."""
    layout = options.layout
    layout.make()
    if options.tls is not None:
        options.tls.server_context()  # fail before anything else is started
    pool = ThreadPoolExecutor(_MAX_NUM_THREADS, thread_name_prefix="control")
    loop = asyncio.get_running_loop()
    loop.set_default_executor(pool)
    store = await asyncio.to_thread(Store.open, options.database_url)
    try:
        vault = Vault.open(layout.secret_key)
        launcher = await asyncio.to_thread(make_launcher, options.containers)
        uses_containers = isinstance(launcher, ContainerLauncher)
        gpus = await asyncio.to_thread(find_gpus, os.environ.get(VISIBLE))

        def secrets(names: Collection[str]) -> Mapping[str, str]:
            return read_secrets(store, vault, names)

        steps = RunSteps(
            store,
            launcher,
            read_secrets=secrets,
            runs=layout.runs,
            artifacts=layout.artifacts,
            uses_containers=uses_containers,
            gpus=gpus,
        )
        runs = RunController(store, steps)
        folders = Folders(store, launcher, layout)
        current = CurrentMetrics()
        gc_loop = GcLoop(store, folders, layout, utc_now)
        async with Probes() as probes:
            control_loop = ControlLoop(
                store,
                launcher,
                probes,
                options.gateway_admin_url,
                layout.home,
                config=ControlLoopConfig(uses_containers=uses_containers),
                read_secrets=secrets,
                gpus=gpus,
                dashboard_key=lambda service: dashboard_key(vault, service).key,
            )
            recorder = HistoryRecorder(
                store,
                control_loop.scraper,
                control_loop.gateway,
                ProcessUsageReader(launcher.process_trees),
                current,
                utc_now,
            )

            def wake() -> None:
                loop.call_soon_threadsafe(control_loop.wake)
                loop.call_soon_threadsafe(runs.wake)

            ending = asyncio.Event()
            context = Context(
                store=store,
                vault=vault,
                responses=ResponseBuilder(
                    gateway_url=options.gateway_url,
                    uses_containers=uses_containers,
                    gpus=gpus,
                    current=current,
                ),
                current=current,
                wake=wake,
                folders=folders,
                layout=layout,
                gateway_admin_url=options.gateway_admin_url,
                origins=options.origins,
                is_ending=ending.is_set,
                expose_metrics=control_loop.metrics.expose,
            )
            app = build_app(context)
            if extend_app is not None:
                extend_app(app, context)
            await asyncio.to_thread(_write_credentials, store, options)
            _write_targets(options)
            await serve(
                app,
                options.port,
                {
                    "control loop": control_loop.run(),
                    "run controller": runs.run(),
                    "garbage collector": gc_loop.run(),
                    "history": recorder.run(),
                    "usage": UsageRecorder(store, control_loop.gateway, utc_now).run(),
                },
                ending,
                options.tls,
            )
    finally:
        store.close()
        pool.shutdown(wait=False)


def _write_credentials(store: Store, options: ControlPlaneOptions) -> None:
    """Create a new token for this machine's command line, and revoke the previous one.

    It is written to a file that only the owner can read; the store has its hash.
    """
    created = replace_token(store, LOCAL_TOKEN_NAME, Role.ADMIN, datetime.now(UTC))
    kept = {"url": options.api_url, "token": created.secret}
    if options.tls is not None:
        kept["certificate"] = first_certificate(options.tls.certfile)
    write_private(options.layout.credentials, json.dumps(kept))


def _write_targets(options: ControlPlaneOptions) -> None:
    """Write the addresses for Prometheus. An error, such as a full disk, is only logged."""
    try:
        TargetFiles(options.layout).write_daemons(options.gateway_admin_url, options.api_url)
    except OSError as error:
        logger.error("Cannot write to %s: %s", options.layout.scrape_targets, error.strerror)
