"""
A small API server over HTTP on the loopback interface: objects, versions, apply, preconditions, watches.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Json = dict[str, Any]
CREATED = "2026-01-02T03:04:05Z"


class FakeApi:
    """
    Keeps objects by path; knows no kinds and checks no fields.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.version = 100
        #: "METHOD path" of each request.
        self.requests: list[str] = []
        #: The query of each request that has one.
        self.queries: list[dict[str, str]] = []
        #: Answers given instead of the right ones, by "METHOD path": status and body.
        self.broken: dict[str, tuple[int, Json]] = {}
        #: Events that watches send, in order; ``None`` ends a watch.
        self.events: asyncio.Queue[Json | None] = asyncio.Queue()
        self.watched_from: list[str] = []
        self.stuck = False

    def put(self, path: str, thing: Json) -> Json:
        """Keep an object, as a new version."""
        self.version += 1
        thing = copy.deepcopy(thing)
        meta = thing.setdefault("metadata", {})
        meta.setdefault("uid", f"uid-{self.version}")
        meta.setdefault("creationTimestamp", CREATED)
        meta["resourceVersion"] = str(self.version)
        self.objects[path] = thing
        return thing

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        key = f"{request.method} {request.path}"
        self.requests.append(key)
        if self.stuck:
            await asyncio.Event().wait()
        if request.query:
            self.queries.append(dict(request.query))
        if key in self.broken:
            status, body = self.broken[key]
            return web.json_response(body, status=status)
        if request.query.get("watch") == "true":
            return await self._watch(request)
        body = json.loads(await request.read() or "{}")
        return getattr(self, f"_{request.method.lower()}")(request.path, body)  # type: ignore[no-any-return]

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watched_from.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        while (event := await self.events.get()) is not None:
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    def _get(self, path: str, _: Json) -> web.Response:
        if path in self.objects:
            return web.json_response(self.objects[path])
        if path == "/api/v1/pods":
            pods = [thing for where, thing in self.objects.items() if "/pods/" in where]
            return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": pods})
        return self._status(404, "not found")

    def _post(self, path: str, body: Json) -> web.Response:
        if path.endswith("/token"):
            status = {"token": "secret", "expirationTimestamp": "2026-01-02T03:14:05Z"}
            self.objects[path] = body
            return web.json_response({**body, "status": status}, status=201)
        if path.endswith("/pods") and path.removesuffix("/pods") not in self.objects:
            return self._status(404, "namespaces not found")
        where = f"{path}/{body['metadata']['name']}"
        if where in self.objects:
            return self._status(409, "already exists")
        return web.json_response(self.put(where, body), status=201)

    def _patch(self, path: str, body: Json) -> web.Response:
        there = self.objects.get(path, {})
        return web.json_response(
            self.put(path, {**there, **body, "metadata": {**there.get("metadata", {}), **body.get("metadata", {})}})
        )

    def _delete(self, path: str, body: Json) -> web.Response:
        there = self.objects.get(path)
        if there is None:
            return self._status(404, "not found")
        if body.get("preconditions", {}).get("uid") != there["metadata"]["uid"]:
            return self._status(409, "the uid is another")
        thing = self.put(path, {**there, "metadata": {**there["metadata"], "deletionTimestamp": CREATED}})
        return web.json_response(thing)

    def _status(self, code: int, message: str) -> web.Response:
        return web.json_response({"kind": "Status", "message": message, "code": code}, status=code)


@asynccontextmanager
async def serving(api: FakeApi) -> AsyncIterator[str]:
    """Serve it, and give its URL."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
