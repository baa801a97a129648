"""The whole OpenAPI document: FastAPI's, with the request bodies that handlers read themselves."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.api.document.operations import REF, bodies

KEYS: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "google": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
    "query": {"type": "apiKey", "in": "query", "name": "key"},
}


def install(app: FastAPI, *, keys: bool) -> None:
    """keys: whether the server asks for one."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app, keys=keys)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def document(app: FastAPI, *, keys: bool) -> dict[str, Any]:
    built = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = built.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    # FastAPI's own error, which nothing here answers.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    for path in built["paths"].values():
        for described in path.values():
            described["responses"].pop("422", None)
    for name, schema in _bodies().items():
        if schemas.setdefault(name, schema) != schema:
            raise ValueError(f"two schemas have the name {name}")
    if keys:
        components["securitySchemes"] = KEYS
        built["security"] = [{name: []} for name in KEYS]
    return built


def _bodies() -> dict[str, Any]:
    models = bodies()
    refs, definitions = models_json_schema(
        [(model, "validation") for model in models.values()], ref_template=REF
    )
    found: dict[str, Any] = dict(definitions.get("$defs", {}))
    for name, model in models.items():
        ref = refs[model, "validation"]
        if ref != {"$ref": REF.format(model=name)}:
            found[name] = ref
    return found
