"""The OpenAPI document is valid, complete and consistent with the code."""

import inspect
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from dockrion import errors
from dockrion.errors import DockrionError
from dockrion.openapi.document import openapi
from dockrion.openapi.document import operations as known_operations
from dockrion.openapi.error_responses import DESCRIPTIONS
from dockrion.protocols.openai.errors import error_object
from tests.openapi.services import (
    SERVICES,
    code_of,
    described,
    endpoints,
    example_values,
    operations,
    references,
    resolved,
    service,
)
from tests.support import dockfile as load

every_service = pytest.mark.parametrize("name", SERVICES)


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """Return a validator for a schema within a document, of which it may refer to other schemas."""
    schemas = {"components": {"schemas": document["components"]["schemas"]}}  # all of it takes far longer
    whole = schemas | {"$defs": {"this": schema}, "$ref": "#/$defs/this"}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def media(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every media type object of an OpenAPI document, once."""
    contents = []
    for operation in operations(document).values():
        contents.append(operation.get("requestBody", {}).get("content", {}))
        contents += [response.get("content", {}) for response in operation["responses"].values()]
    return list(
        {msgspec.json.encode(each): each for content in contents for each in content.values()}.values()
    )


@every_service
def test_the_document_is_openapi_3_1(name: str, tmp_path: Path) -> None:
    document = msgspec.json.decode(msgspec.json.encode(described(service(tmp_path, name))))
    assert document["openapi"].startswith("3.1.")
    OPENAPI_31_VALIDATOR.validate(document)


@every_service
def test_exactly_the_served_endpoints_are_described(name: str, tmp_path: Path) -> None:
    dockfile = service(tmp_path, name)
    assert operations(described(dockfile)).keys() == {each.name for each in endpoints(dockfile)}


def test_every_operation_has_an_endpoint(tmp_path: Path) -> None:
    described_names: set[str] = set()
    names: set[str] = set()
    for name in SERVICES:
        dockfile = service(tmp_path, name)
        described_names |= known_operations(dockfile).keys()
        names |= {each.name for each in endpoints(dockfile)}
    assert described_names == names


def test_an_endpoint_without_an_operation_is_an_error(tmp_path: Path) -> None:
    dockfile = service(tmp_path, "plain")
    unknown = msgspec.structs.replace(endpoints(dockfile)[0], path="/new")
    with pytest.raises(KeyError, match="GET /new"):
        openapi(dockfile, [unknown])


@every_service
def test_every_reference_resolves(name: str, tmp_path: Path) -> None:
    document = described(service(tmp_path, name))
    for reference in set(references(document)):
        assert isinstance(resolved(document, reference), dict)


@every_service
def test_every_schema_is_valid_and_every_example_matches_its_schema(name: str, tmp_path: Path) -> None:
    document = described(service(tmp_path, name))
    for schema in document["components"]["schemas"].values():
        validator(document, schema)
    for each in media(document):
        check = validator(document, each["schema"])
        if isinstance(each.get("example"), str):
            continue  # a stream; the schema is that of one event
        if "example" in each:
            check.validate(each["example"])
        for example in example_values(document, each):
            check.validate(example)


@every_service
def test_defaults_of_parameters_match_their_schemas(name: str, tmp_path: Path) -> None:
    for operation in operations(document := described(service(tmp_path, name))).values():
        for parameter in operation.get("parameters", []):
            check = validator(document, parameter["schema"])
            if "default" in parameter["schema"]:
                check.validate(parameter["schema"]["default"])


@every_service
def test_every_response_has_the_id_of_its_request(name: str, tmp_path: Path) -> None:
    for operation in operations(described(service(tmp_path, name))).values():
        assert all("X-Request-ID" in response["headers"] for response in operation["responses"].values())


@every_service
def test_operation_ids_are_unique(name: str, tmp_path: Path) -> None:
    names = [each["operationId"] for each in operations(described(service(tmp_path, name))).values()]
    assert len(set(names)) == len(names)


@every_service
def test_protected_endpoints_have_401_403_and_security(name: str, tmp_path: Path) -> None:
    dockfile = service(tmp_path, name)
    document = described(dockfile)
    for endpoint in endpoints(dockfile):
        operation = operations(document)[endpoint.name]
        ingest = endpoint.accepts_ingest_token or endpoint.name == "POST /runs"
        ingest = ingest or "{push_token}" in endpoint.path
        if dockfile.protected and not endpoint.public:
            assert {"401", "403"} <= operation["responses"].keys()
            assert operation["security"]
        elif endpoint.name == "GET /ready":  # which refuses with `verbose` only
            refuses = "401" in operation["responses"]
            assert refuses or "security" not in operation
            assert not refuses or operation["security"] == [
                {},
                *operations(document)["GET /info"]["security"],
            ]
        elif not ingest:
            assert not {"401", "403"} & operation["responses"].keys()
            assert "security" not in operation
        for requirement in operation.get("security", []):
            assert requirement.keys() <= document["components"]["securitySchemes"].keys()


def test_security_schemes_match_the_dockfile(tmp_path: Path) -> None:
    def schemes(name: str) -> Any:
        return described(service(tmp_path, name))["components"].get("securitySchemes")

    assert schemes("plain") is None
    assert schemes("keys")["key"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    assert schemes("keys")["bearer"]["scheme"] == "bearer"
    assert schemes("header").keys() == {"key"}
    assert schemes("header")["key"]["name"] == "X-Mine"
    assert schemes("jwt")["bearer"]["bearerFormat"] == "JWT"
    assert schemes("jwt").keys() == {"bearer", "eventsToken", "producer"}
    assert schemes("oauth2")["bearer"]["scheme"] == "bearer"
    assert schemes("oauth2").keys() == {"bearer"}


def test_tokens_apply_to_their_endpoints(tmp_path: Path) -> None:
    document = operations(described(service(tmp_path, "jwt")))
    assert document["GET /runs/{run_id}/events"]["security"] == [{"bearer": []}, {"eventsToken": []}]
    assert document["POST /runs/{run_id}/events"]["security"] == [{"bearer": []}, {"producer": []}]
    assert document["GET /runs/{run_id}"]["security"] == [{"bearer": []}]


def test_every_error_has_a_description() -> None:
    kinds = {
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DockrionError)
    }
    before_routing = {errors.MethodNotAllowed, errors.MisdirectedRequest}
    assert DESCRIPTIONS.keys() | before_routing == kinds


@every_service
def test_error_responses_have_the_statuses_and_codes_of_the_exceptions(name: str, tmp_path: Path) -> None:
    document = described(service(tmp_path, name))
    for operation in operations(document).values():
        assert {"400", "500"} <= operation["responses"].keys()
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            codes = {kind.code for kind in DESCRIPTIONS if kind.status == int(status)}
            codes |= {error_object("", code)["error"]["code"] for code in codes}
            for example in example_values(document, response["content"]["application/json"]):
                assert code_of(example) in codes
            waits = {kind for kind in DESCRIPTIONS if str(kind.status) == status and kind.retry_after}
            assert ("Retry-After" in response.get("headers", {})) == bool(waits)


def test_input_and_output_are_components(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    document = described(load(tmp_path, {"io_schema": {"input": schema, "output": schema}}).dockfile)
    components = document["components"]["schemas"]
    assert components["AgentInput"] == components["AgentOutput"] == schema
    for name in ("POST /invoke", "POST /invoke/stream", "POST /runs"):
        body = operations(document)[name]["requestBody"]
        reference = {"$ref": "#/components/schemas/AgentInput"}
        assert body == {"required": True, "content": {"application/json": {"schema": reference}}}
    outputs = {name: components[name]["properties"]["output"] for name in ("Invoked", "Complete", "Run")}
    reference = {"$ref": "#/components/schemas/AgentOutput"}
    assert outputs["Invoked"] == outputs["Complete"] == reference
    assert outputs["Run"] == {"anyOf": [reference, {"type": "null"}]}


def test_without_schemas_input_and_output_are_any_json(tmp_path: Path) -> None:
    document = described(load(tmp_path).dockfile)
    components = document["components"]["schemas"]
    assert not {"AgentInput", "AgentOutput"} & components.keys()
    assert operations(document)["POST /invoke"]["requestBody"]["content"]["application/json"]["schema"] == {}
    assert not {"type", "$ref", "anyOf"} & components["Invoked"]["properties"]["output"].keys()


@pytest.mark.parametrize("name", ["POST /invoke", "POST /invoke/stream", "POST /runs"])
def test_internal_references_of_the_input_schema_resolve(name: str, tmp_path: Path) -> None:
    document = described(service(tmp_path, "nested"))
    content = operations(document)[name]["requestBody"]["content"]["application/json"]
    check = validator(document, content["schema"])
    assert check.is_valid({"tree": [[[], []], []]})
    assert not check.is_valid({"tree": [[1]]})


def test_parameters_that_the_dockfile_disables_are_not_described(tmp_path: Path) -> None:
    def parameters(name: str) -> set[str]:
        operation = operations(described(service(tmp_path, name)))["POST /runs"]
        return {each["name"] for each in operation.get("parameters", [])}

    assert parameters("plain") == {"Idempotency-Key", "run_id"}
    assert parameters("chat") == {"Idempotency-Key"}
    assert parameters("ingest") == {"Idempotency-Key", "run_id", "external"}


def test_stream_responses_describe_their_events(tmp_path: Path) -> None:
    document = described(service(tmp_path, "chat"))
    response = operations(document)["GET /runs/{run_id}/events"]["responses"]["200"]
    assert response["content"].keys() == {"text/event-stream", "application/x-ndjson", "application/json"}
    stream = response["content"]["text/event-stream"]
    assert "event: token\ndata: {" in stream["example"]
    text, item = stream["schema"]["anyOf"]
    assert text == {"type": "string"}
    items = item["properties"]["data"]["contentSchema"]["anyOf"]
    assert {"$ref": "#/components/schemas/Event"} in items
    events = document["components"]["schemas"]["Event"]["oneOf"]
    names = {each["$ref"].rpartition("/")[2] for each in events}
    assert names == {"Started", "Complete", "Error", "Cancelled", "Token"}


def test_webhooks_are_described_where_there_are_any(tmp_path: Path) -> None:
    plain, document = (described(service(tmp_path, name)) for name in ("plain", "webhooks"))
    assert "webhooks" not in plain
    assert not any("Webhook" in name for name in plain["components"]["schemas"])
    post = document["webhooks"]["event"]["post"]
    names = [parameter["name"] for parameter in post["parameters"]]
    assert names == ["webhook-id", "webhook-timestamp", "webhook-signature"]
    assert "`cancelled`, `complete`, `custom`, `error`, `token`" in post["description"]
    body = post["requestBody"]["content"]["application/json"]
    schema = {"$ref": "#/components/schemas/WebhookBody", "components": document["components"]}
    jsonschema_rs.validator_for(schema).validate(body["example"])
    data = document["components"]["schemas"]["WebhookData"]
    assert data["properties"]["event"]["$ref"] == "#/components/schemas/Event"


def test_the_url_of_a_caller_is_a_parameter_where_callers_may_name_one(tmp_path: Path) -> None:
    def named(name: str) -> bool:
        parameters = described(service(tmp_path, name))["paths"]["/runs"]["post"]["parameters"]
        return any(parameter["name"] == "webhook_url" for parameter in parameters)

    assert named("webhooks")
    assert not named("plain")
