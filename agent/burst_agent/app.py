"""
Builds the agent out of its parts and runs it: the only place that knows which adapter stands behind which port.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from importlib import resources
from pathlib import Path

import structlog

from burst_agent import policy
from burst_agent.accounting import Accounting
from burst_agent.actor import Actor
from burst_agent.attach import Attacher
from burst_agent.clock import SystemClock
from burst_agent.clusters import Clusters
from burst_agent.errors import SettingsError
from burst_agent.history import History
from burst_agent.kube import Kube
from burst_agent.metered import MeteredSlurm
from burst_agent.metrics import Metrics
from burst_agent.munge import Munge
from burst_agent.namespaces import objects
from burst_agent.observability import serve_metrics, set_up_log
from burst_agent.ports import KubePort
from burst_agent.reconcile import Reconciler
from burst_agent.server import Server
from burst_agent.settings import Settings, load
from burst_agent.slurm import SlurmController
from burst_agent.users import HostUsers

log = structlog.get_logger(__name__)

#: Calls on the way at a stop get this long; everything else is re-derived at the next start.
_STOP_GRACE_S = 2.0
#: So many objects are made before Python looks for cycles among them: of ten thousand jobs, a round has as many.
_COLLECT_EVERY = 50_000


def collect_rarely() -> None:
    """
    Look for cycles among objects once a round or so, and never among what the start made: at Python's own 700 it takes
    up to half of a round's time, and finds nothing.
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)


async def run(settings: Settings, path: Path) -> None:
    """
    Run until SIGTERM or SIGINT; SIGHUP reads [policy] of the settings file anew. Raises SettingsError.
    """
    set_up_log(settings.log)
    template = _template(settings)
    for target in settings.targets:
        objects(settings, 1, template, target.name)  # a template that can't be used is said now, not at the first job
    metrics, clock = Metrics(), SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        slurm = MeteredSlurm(
            SlurmController(burst_partition=settings.slurm.partition, timeout_s=settings.slurm.deadline_s), metrics
        )
        stack.push_async_callback(slurm.close)
        accounting = Accounting(deadline_s=settings.slurm.deadline_s)
        stack.push_async_callback(accounting.close)
        clusters = Clusters(await _open(settings, metrics, stack), clock)
        stack.push_async_callback(clusters.close)
        users = HostUsers(deadline_s=settings.slurm.deadline_s)
        stack.push_async_callback(users.close)
        actor = Actor(slurm=slurm, clusters=clusters, users=users, settings=settings, template=template)
        history = History(accounting, clock, partition=settings.slurm.partition)
        loop = Reconciler(
            slurm=slurm,
            clusters=clusters,
            history=history,
            actor=actor,
            clock=clock,
            settings=settings,
            metrics=metrics,
        )
        attacher = Attacher(
            slurm=slurm,
            clusters=clusters,
            clock=clock,
            cluster=settings.slurm.cluster,
            site=lambda: loop.site,
            wake=loop.wake,
        )
        server = Server(
            settings=settings,
            loop=loop,
            attacher=attacher,
            munge=Munge(timeout_s=settings.slurm.deadline_s),
            users=users,
            accounting=accounting,
            clock=clock,
        )
        if settings.listen.metrics:
            stack.callback(serve_metrics(settings.listen.metrics, metrics))
        await server.start()
        stack.push_async_callback(server.stop, _STOP_GRACE_S)
        _warn(settings)
        log.info("started", cluster=settings.slurm.cluster, socket=str(settings.listen.socket))
        books = asyncio.create_task(history.keep(lambda: loop.terms, settings.accounting.refresh_s))
        stack.callback(books.cancel)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, loop, path)
        await _until_told(loop)
        log.info("stopping")


async def _open(settings: Settings, metrics: Metrics, stack: contextlib.AsyncExitStack) -> dict[str, KubePort]:
    """Connect to all targets; one whose kubeconfig can't be used is named, and tried again at each look."""
    kubes: dict[str, KubePort] = {}
    for target in settings.targets:
        kube = Kube(settings, target, lambda verb: metrics.call("kubernetes", verb))
        stack.push_async_callback(kube.close)
        try:
            await kube.open()
        except SettingsError as e:
            log.error("target_unusable", target=target.name, error=str(e))
        kubes[target.name] = kube
        stack.callback(asyncio.create_task(kube.look_at_fence()).cancel)
    return kubes


def _reload(loop: Reconciler, path: Path) -> None:
    """Go by the file's [policy] from now on; a file with mistakes changes nothing."""
    try:
        read = load(path)
    except SettingsError as e:
        log.error("reload_refused", error=str(e))
        first, _, more = str(e).partition("\n")
        loop.outdated = (
            f"the settings from before the last SIGHUP hold: {first}{' (and more: see the log)' if more else ''}"
        )
        loop.wake()
        return
    loop.outdated = ""
    changed = [
        name
        for name in type(read).model_fields
        if name != "policy" and getattr(read, name) != getattr(loop.settings, name)
    ]
    loop.use(loop.settings.model_copy(update={"policy": read.policy}))
    loop.wake()
    log.info("reloaded", rules=len(read.policy.rules))
    _warn(loop.settings)
    if changed:
        log.warning("restart_needed", changed=changed, how="restart the agent for these: no job or pod notices")


def _warn(settings: Settings) -> None:
    """Log what of the policy is surely not meant; it holds all the same."""
    for warning in policy.warnings(settings.policy, settings.targets):
        log.warning("policy_warning", warning=warning.text)


async def _until_told(loop: Reconciler) -> None:
    """Run the loop until a signal asks for the end; where the loop itself fails, so does the agent."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    running = asyncio.create_task(loop.run())
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        await running
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _template(settings: Settings) -> str:
    path = settings.kubernetes.namespace_template
    if path is None:
        return resources.files("burst_agent").joinpath("namespace.yaml").read_text(encoding="utf-8")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        msg = f"kubernetes.namespace_template {path}: can't be read: {e}"
        raise SettingsError(msg) from e
