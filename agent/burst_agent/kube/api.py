"""
One request to the API server: JSON in, JSON out, a deadline, and errors in our words.

The official client brings authentication, TLS and connections. Its typed models are left aside: reading thousands of
pods through them costs seconds, and manifests are values here anyway.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio import client, config
from kubernetes.aio.config import ConfigException, kube_config

from burst_agent.errors import BurstError, KubeRefused, KubeUnavailable, SettingsError
from burst_agent.model import ApiEndpoint
from burst_agent.settings import Kubernetes
from burst_agent.target_file import Target

JsonObject = dict[str, Any]
#: Measures one call, by its verb.
Timer = Callable[[str], AbstractContextManager[None]]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

#: What reading a kubeconfig raises: one that is half written is no YAML, or nothing, or lacks a part.
_BAD_KUBECONFIG = (
    ConfigException, aiohttp.ClientError, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError
)  # fmt: skip

#: Longer than the API server is silent in a watch with bookmarks, shorter than anybody waits for a dead connection.
_SILENCE_S = 90.0


class Missing(KubeRefused):
    """The object, or what it belongs to, does not exist."""


class Conflict(KubeRefused):
    """The object exists, or is not the one that was meant."""


class Expired(KubeRefused):
    """The watch asked for a version that is too old."""


@dataclass(slots=True, eq=False)
class _Connections:
    """
    Those made with what one reading of the kubeconfig gave; once replaced, they close with the last request on them.
    """

    client: client.ApiClient
    requests: int = 0
    replaced: bool = False


class Api:
    """
    Requests to one API server. Raises KubeUnavailable and KubeRefused with its subclasses here.
    """

    def __init__(self, settings: Kubernetes, target: Target, timer: Timer) -> None:
        """Keep the settings; :meth:`open` reads the kubeconfig."""
        self._settings = settings
        self._target = target
        self._timer = timer
        self._current: _Connections | None = None
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(settings.parallel)
        self._endpoint = ApiEndpoint(url="", ca_pem=b"", tls_server_name="")

    async def open(self) -> None:
        """Read the kubeconfig. Raises SettingsError; then each request tries again."""
        path = self._target.kubeconfig
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                configuration = await _read(path, self._target.context)
            ca_pem = Path(configuration.ssl_ca_cert).read_bytes() if configuration.ssl_ca_cert else b""
            fresh = client.ApiClient(configuration)
        except _BAD_KUBECONFIG as e:
            msg = f"target {self._target.name}: kubeconfig {path} can't be used: {str(e) or type(e).__name__}"
            raise SettingsError(msg) from e
        old, self._current = self._current, _Connections(fresh)
        if old is not None:
            old.replaced = True
            await _close_idle(old)
        # An address of its own is verified by its own name.
        name = "" if self._target.api_server else configuration.tls_server_name or ""
        self._endpoint = ApiEndpoint(self._target.api_server or configuration.host, ca_pem, name)

    async def close(self) -> None:
        """Close the connections."""
        if self._current is not None:
            await self._current.client.close()
            self._current = None

    @property
    def endpoint(self) -> ApiEndpoint:
        """How gateways reach this API server."""
        return self._endpoint

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> JsonObject:
        """Make one request and give the object of the answer."""
        async with self._slots:
            with self._timer(method):
                status, data, used = await self._bounded(method, path, query, body, content_type)
                if _is_unknown(status, data):  # the kubeconfig's credential may have been renewed since it was read
                    await self._reopen(used)
                    status, data, _ = await self._bounded(method, path, query, body, content_type)
        _check(status, data, f"{method} {path}")
        return data

    async def lines(self, path: str, query: Mapping[str, str], *, last_s: float) -> AsyncIterator[JsonObject]:
        """Follow an answer that goes on, one object a line, for at most so many seconds."""
        timeout = aiohttp.ClientTimeout(total=last_s + self._settings.deadline_s, sock_read=_SILENCE_S)
        try:
            async with self._connections() as used:
                answer = await _send(used, "GET", path, query, None, "application/json", timeout)
                response = answer.response
                try:
                    if response.status != 200:
                        _check(response.status, _decode(await answer.read()), f"watch {path}")
                    async for line in response.content:
                        yield _decode(line)
                finally:
                    response.close()
        except (aiohttp.ClientError, OSError, TimeoutError) as e:
            raise _unavailable(f"watch {path}", e) from e

    async def _reopen(self, used: _Connections | None) -> None:
        """Read the kubeconfig again, unless somebody else has done so since."""
        async with self._opening:
            if self._current is not used:
                return
            try:
                await self.open()
            except SettingsError as e:
                raise KubeUnavailable(str(e)) from e

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[_Connections]:
        if self._current is None:  # the kubeconfig could not be read so far
            await self._reopen(None)
        assert self._current is not None
        used = self._current
        used.requests += 1
        try:
            yield used
        finally:
            used.requests -= 1
            await _close_idle(used)

    async def _bounded(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Mapping[str, Any] | None, content_type: str
    ) -> tuple[int, JsonObject, _Connections]:
        deadline_s = self._settings.deadline_s
        try:
            async with asyncio.timeout(deadline_s), self._connections() as used:
                answer = await _send(used, method, path, query, body, content_type, deadline_s)
                return answer.status, _decode(await answer.read()), used
        except (aiohttp.ClientError, OSError, TimeoutError) as e:
            raise _unavailable(f"{method} {path}", e) from e


async def _read(path: Path, context: str) -> client.Configuration:
    """Read a kubeconfig. Raises one of _BAD_KUBECONFIG."""
    # The client keeps certificates in files of /tmp, and does not look whether somebody has swept them away.
    for content, file in tuple(kube_config._temp_files.items()):  # noqa: SLF001
        if not Path(file).exists():
            del kube_config._temp_files[content]  # noqa: SLF001
    configuration = client.Configuration()
    await config.load_kube_config(str(path), context or None, configuration, persist_config=False)
    if not configuration.api_key.get("BearerToken") and not configuration.cert_file:
        msg = "it gives no credential; where a program is to give one (exec), the log has what it said"
        raise ConfigException(msg)
    return configuration


def _is_unknown(status: int, data: JsonObject) -> bool:
    """Whether the API server does not know who asks: whom it takes for nobody, it forbids things."""
    return status == 401 or (status == 403 and '"system:anonymous"' in str(data.get("message")))


async def _send(
    used: _Connections,
    method: str,
    path: str,
    query: Mapping[str, str] | None,
    body: Mapping[str, Any] | None,
    content_type: str,
    timeout: aiohttp.ClientTimeout | float,
) -> Any:
    verb, url, headers, sent, _ = await used.client.param_serialize(
        method,
        path,
        query_params=list((query or {}).items()),
        header_params={"Content-Type": content_type, "Accept": "application/json"},
        body=body,
        auth_settings=["BearerToken"],
    )
    return await used.client.call_api(verb, url, headers, sent, _request_timeout=timeout)


async def _close_idle(connections: _Connections) -> None:
    if connections.replaced and not connections.requests:
        await connections.client.close()


def _decode(data: bytes) -> JsonObject:
    try:
        thing = json.loads(data)
    except ValueError as e:
        msg = f"the API server answered no JSON: {data[:80]!r}"
        raise KubeUnavailable(msg) from e
    return thing if isinstance(thing, dict) else {}


def _check(status: int, data: JsonObject, what: str) -> None:
    """Raise what an answer means; the sentence of the API server is cut so that no log drowns in it."""
    if status < 300:
        return
    said = str(data.get("message") or data.get("reason") or f"status {status}")[:500]
    raise _error_class(status)(f"Kubernetes: {what}: {said}")


def _error_class(status: int) -> type[BurstError]:
    if status == 429 or status >= 500:
        return KubeUnavailable
    return {404: Missing, 409: Conflict, 410: Expired}.get(status, KubeRefused)


def _unavailable(what: str, e: BaseException) -> KubeUnavailable:
    return KubeUnavailable(f"Kubernetes: {what}: {str(e) or type(e).__name__}")
