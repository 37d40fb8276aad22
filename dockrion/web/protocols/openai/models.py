"""`GET /v1/models`: the agent, as a model."""

from typing import Any

from aiohttp import hdrs, web

from dockrion.errors import NotFound
from dockrion.web.access import AUTHENTICATED
from dockrion.web.responses import json_response
from dockrion.web.routes import Route
from dockrion.web.service import SERVICE, Service


async def list_models(request: web.Request) -> web.Response:
    return json_response({"object": "list", "data": [_model(request.app[SERVICE])]})


async def get_model(request: web.Request) -> web.Response:
    model = _model(request.app[SERVICE])
    if request.match_info["model"] != model["id"]:
        raise NotFound(f"this service has one model, {model['id']}")
    return json_response(model)


def _model(service: Service) -> dict[str, Any]:
    # `created` is required; agents have no such date.
    return {"id": service.dockfile.agent.name, "object": "model", "created": 0, "owned_by": "dockrion"}


ROUTES = (
    Route(hdrs.METH_GET, "/v1/models", list_models, AUTHENTICATED),
    Route(hdrs.METH_GET, "/v1/models/{model}", get_model, AUTHENTICATED),
)
