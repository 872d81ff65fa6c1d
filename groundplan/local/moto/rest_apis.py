"""API Gateway's REST APIs as they were imported: moto keeps their paths and integrations, but neither who may call nor
what is answered instead.
"""

from __future__ import annotations

import json
from typing import Any


def keep_definitions() -> None:
    """GetExport gives an imported OpenAPI document back, and what it says of callers is kept."""
    from moto.apigateway.models import APIGatewayBackend
    from moto.apigateway.responses import APIGatewayResponse

    put, export = APIGatewayBackend.put_rest_api, APIGatewayResponse.get_export

    def put_rest_api(self: Any, function_id: str, api_doc: dict[str, Any], *args: Any, **given: Any) -> Any:
        api = put(self, function_id, _in_capitals(api_doc), *args, **given)
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
    APIGatewayResponse.get_export = get_export


def _in_capitals(document: dict[str, Any]) -> dict[str, Any]:
    """With kinds of integrations as API Gateway reports them, whatever their spelling in the document; moto demands an
    address of those that have none.
    """
    copy: dict[str, Any] = json.loads(json.dumps(document))
    for _, _, operation in _operations(copy):
        if integration := operation.get("x-amazon-apigateway-integration"):
            integration.update(type=integration["type"].upper())
            for key in ("uri", "httpMethod"):
                integration.setdefault(key, "")
    return copy


def _authorize(backend: Any, api: Any, document: dict[str, Any]) -> None:
    schemes = document.get("components", {}).get("securitySchemes", {})
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
        method = by_path[path].resource_methods[verb.upper()]
        asked = [name for one in operation.get("security", ()) for name in one if name in known]
        method.authorization_type = "NONE"
        if asked:
            method.authorization_type = schemes[asked[0]]["x-amazon-apigateway-authorizer"]["type"].upper()
            method.authorizer_id = known[asked[0]]


def _operations(document: dict[str, Any]) -> Any:
    return [
        (path, verb, operation)
        for path, item in document.get("paths", {}).items()
        for verb, operation in item.items()
        if isinstance(operation, dict)
    ]
