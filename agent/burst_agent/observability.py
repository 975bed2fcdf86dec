"""
The log and /metrics: set up once, by app.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import start_http_server

from burst_agent.errors import SettingsError
from burst_agent.metrics import Metrics
from burst_agent.settings import Log


def set_up_log(settings: Log) -> None:
    """
    Log one line per event to standard error, events of libraries from warning on.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor
    if settings.format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "event", "job_id"], drop_missing=True
        )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_drop_meta, renderer])
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _drop_meta(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(None, "", event)


def serve_metrics(address: str, metrics: Metrics) -> Callable[[], None]:
    """
    Serve /metrics in a thread, and give what stops it. Raises SettingsError.
    """
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), addr=host.strip("[]"), registry=metrics.registry)
    except OSError as e:
        msg = f"listen.metrics: can't listen on {address}: {e}"
        raise SettingsError(msg) from e

    def stop(server: WSGIServer = server) -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
