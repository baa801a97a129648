"""Loaded by schemathesis: most requests ask for the model that is there, so that they reach it."""

from typing import Any

import schemathesis

from tests.service.support import MODEL


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) % 4:
        return {**body, "model": MODEL}
    return body


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    name = (path_parameters or {}).get("name")
    if isinstance(name, str) and len(name) % 4:
        return {**path_parameters, "name": MODEL}
    return path_parameters
