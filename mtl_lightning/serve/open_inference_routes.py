"""Routes of the Open Inference Protocol, ``/v2/…``."""

import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request, Response

from mtl_lightning.serve.answer import SHOWN
from mtl_lightning.serve.open_inference import LENGTH, describe_model, infer

if TYPE_CHECKING:
    from mtl_lightning.serve.app import Service

JSON = "application/json"


class OpenInferenceRoutes:
    """Routes that answer by the live export, which is a model with one version.

    Args:
        service: The service.
        name: Name of the model.

    Example:
        ``OpenInferenceRoutes(service, "ads").register(app)``
    """

    def __init__(self, service: "Service", name: str) -> None:
        self.service = service
        self.name = name

    def register(self, app: FastAPI) -> None:
        """Add the routes to an app."""
        options: dict[str, Any] = {"include_in_schema": False}
        app.get("/v2", **options)(self.server)
        app.get("/v2/health/live", **options)(self.live)
        app.get("/v2/health/ready", **options)(self.ready)
        for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{number}"):
            app.get(model, **options)(self.model)
            app.get(f"{model}/ready", **options)(self.model_ready)
            app.post(f"{model}/infer", **options)(self.infer)

    async def server(self) -> dict[str, Any]:
        """Describe the server."""
        return {"name": "mtl_lightning", "version": version("mtl-lightning"), "extensions": ["binary_tensor_data"]}

    async def live(self) -> dict[str, bool]:
        """Report that the process is alive."""
        return {"live": True}

    async def ready(self) -> Response:
        """Report whether the server accepts requests; 503 while it stops."""
        ready = not self.service.stopping
        return Response(orjson.dumps({"ready": ready}), 200 if ready else 503, media_type=JSON)

    async def model(self, name: str, number: str = "") -> Response:
        """Describe the inputs and outputs of the model."""
        return self._unknown(name, number) or Response(
            orjson.dumps(describe_model(self.service.live.bundle, self.name)), media_type=JSON
        )

    async def model_ready(self, name: str, number: str = "") -> Response:
        """Report whether the model accepts requests."""
        return self._unknown(name, number) or await self.ready()

    async def infer(self, request: Request, name: str, number: str = "") -> Response:
        """Predict rows."""
        start = time.perf_counter()
        response, rows = self._unknown(name, number) or _encoded(request), 0
        if response is None:
            response, rows = await self.service.answer(
                request, infer, self.service.limits.max_rows, self.name, request.headers.get(LENGTH)
            )
        self.service.measures.answered(response.status_code, time.perf_counter() - start, rows)
        return response

    def _unknown(self, name: str, number: str) -> Response | None:
        """Return the answer to a request for another model or version; None for the one that is served."""
        served = self.service.live.bundle.identity[:SHOWN]
        if name != self.name:
            return _problem(404, f"no model {name[:80]!r}: the model is {self.name!r}")
        return (
            _problem(404, f"no version {number[:80]!r}: {served!r} is served") if number not in ("", served) else None
        )


def _encoded(request: Request) -> Response | None:
    """Return the answer to a compressed body; None for a plain one."""
    encoding = request.headers.get("content-encoding", "identity")
    return (
        None if encoding == "identity" else _problem(415, f"a body in {encoding[:40]!r} can't be read: send it plain")
    )


def _problem(status: int, reason: str) -> Response:
    # Do not wait for the rest of a body that is not read.
    return Response(orjson.dumps({"error": reason}), status, {"Connection": "close"}, JSON)
