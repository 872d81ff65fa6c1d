"""API Gateway's REST APIs as they were imported: moto keeps their paths and integrations, but neither who may call nor
what is answered instead.
"""

from __future__ import annotations

import json
from typing import Any

_ANY = "x-amazon-apigateway-any-method"
_VERBS = ("delete", "get", "head", "options", "patch", "post", "put", "any", _ANY)


def keep_definitions() -> None:
    """GetExport gives an imported OpenAPI document back, and what it says of callers is kept."""
    from moto.apigateway.exceptions import BadRequestException
    from moto.apigateway.models import APIGatewayBackend
    from moto.apigateway.responses import APIGatewayResponse

    put, export = APIGatewayBackend.put_rest_api, APIGatewayResponse.get_export
    import_new = APIGatewayBackend.import_rest_api

    def import_rest_api(self: Any, api_doc: dict[str, Any], fail_on_warnings: bool) -> Any:
        if isinstance(api_doc, dict):
            api_doc["info"] = {"title": "", "description": "", **(api_doc.get("info") or {})}
        return import_new(self, api_doc, fail_on_warnings)

    def put_rest_api(self: Any, function_id: str, api_doc: dict[str, Any], *args: Any, **given: Any) -> Any:
        if not isinstance(api_doc, dict) or not api_doc:
            raise BadRequestException("The body is no OpenAPI document.")
        if without := [f"{verb.upper()} {path}" for path, verb, one in _operations(api_doc) if not _has_kind(one)]:
            raise BadRequestException(f"Integrations need a type: {', '.join(without)}")
        known = getattr(self.apis.get(function_id), "document", None) or {}
        api = put(self, function_id, _for_moto(api_doc), *args, **given)
        merged = (given.get("mode") or (args[1] if len(args) > 1 else "merge")) == "merge"
        api_doc = {**known, **api_doc, "paths": {**_paths(known), **_paths(api_doc)}} if merged else api_doc
        api.document = api_doc
        _authorize(self, api, api_doc)
        return api

    def get_export(self: Any) -> Any:
        parts = self.path.split("/")
        api = self.backend.apis.get(parts[-5])
        document = getattr(api, "document", None)
        if document is None or parts[-3] not in api.stages:
            return export(self)
        headers = {"Content-Type": "application/json", "Content-Disposition": 'attachment; filename="oas30.json"'}
        return 200, headers, json.dumps(document).encode()

    APIGatewayBackend.put_rest_api = put_rest_api
    APIGatewayBackend.import_rest_api = import_rest_api
    APIGatewayResponse.get_export = get_export


def _paths(document: dict[str, Any]) -> dict[str, Any]:
    return {path: item for path, item in (document.get("paths") or {}).items() if path.startswith("/") and item}


def _verb(name: str) -> str:
    return "any" if name.lower() == _ANY else name


def _has_kind(operation: dict[str, Any]) -> bool:
    integration = operation.get("x-amazon-apigateway-integration")
    return integration is None or isinstance(integration.get("type"), str)


def _for_moto(document: dict[str, Any]) -> dict[str, Any]:
    """With kinds of integrations as API Gateway reports them, whatever their spelling in the document; without what
    moto takes for methods or paths, and with what it demands.
    """
    copy: dict[str, Any] = json.loads(json.dumps(document, default=str))
    copy["info"] = {"title": "", "description": "", **(copy.get("info") or {})}
    copy["paths"] = {
        path.rstrip("/") or "/": {_verb(name): operation for name, operation in item.items() if name.lower() in _VERBS}
        for path, item in _paths(copy).items()
    }
    for _, _, operation in _operations(copy):
        if integration := operation.get("x-amazon-apigateway-integration"):
            integration.update(type=integration["type"].upper())
            for key in ("uri", "httpMethod"):
                integration.setdefault(key, "")
    return copy


def _authorize(backend: Any, api: Any, document: dict[str, Any]) -> None:
    schemes = (document.get("components") or {}).get("securitySchemes") or {}
    known = {authorizer.name: authorizer.id for authorizer in api.get_authorizers()}
    for name, scheme in schemes.items():
        described = scheme.get("x-amazon-apigateway-authorizer")
        if described and name not in known:
            made = backend.create_authorizer(
                api.id,
                name=name,
                authorizer_type=described["type"].upper(),
                provider_arns=described.get("providerARNs"),
                authorizer_uri=None,
                authorizer_credentials=None,
                identiy_validation_expression=None,
                authorizer_result_ttl=None,
                identity_source=f"method.request.header.{scheme.get('name', 'Authorization')}",
                auth_type=scheme.get("x-amazon-apigateway-authtype"),
            )
            known[name] = made.id
    by_path = {resource.get_path(): resource for resource in api.resources.values()}
    for path, verb, operation in _operations(document):
        method = by_path[path.rstrip("/") or "/"].resource_methods[_verb(verb).upper()]
        asked = [name for one in operation.get("security") or () for name in one if name in known]
        method.authorization_type = "NONE"
        if asked:
            method.authorization_type = schemes[asked[0]]["x-amazon-apigateway-authorizer"]["type"].upper()
            method.authorizer_id = known[asked[0]]


def _operations(document: dict[str, Any]) -> Any:
    return [
        (path, verb, operation)
        for path, item in _paths(document).items()
        for verb, operation in item.items()
        if isinstance(operation, dict) and verb.lower() in _VERBS
    ]
