"""The check of an emulator against the OpenAPI file that the real cloud publishes."""

import json
from pathlib import Path

import pytest
from emulators import openapi
from emulators.openapi import Addition, Conformance, Specification
from emulators.runpod.answers import problem
from emulators.server import Request, Response, json_response

THINGS = {
    "openapi": "3.1.0",
    "info": {"title": "Things", "version": "1"},
    "paths": {
        "/v1/things": {
            "post": {
                "parameters": [{"$ref": "#/components/parameters/Loud"}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {
                    "201": {
                        "description": "",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                    },
                    "default": {"description": "", "content": {"application/problem+json": {"schema": {}}}},
                },
            }
        }
    },
    "components": {
        "parameters": {"Loud": {"name": "loud", "in": "query", "schema": {"type": "boolean"}}},
        "schemas": {
            "Thing": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {"name": {"type": "string"}},
            }
        },
    },
}


def things(*additions: Addition) -> Conformance:
    return Conformance(Specification("things.json", "https://things.example", additions))


def create(body: object, **query: str) -> Request:
    return Request("POST", "/v1/things", query, {"content-type": "application/json"}, json.dumps(body).encode())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of OpenAPI files, with one in it."""
    monkeypatch.setattr(openapi, "FOLDER", tmp_path)
    (tmp_path / "things.json").write_text(json.dumps(THINGS))
    return tmp_path


def test_what_the_file_allows_is_no_violation() -> None:
    conformance = things()
    conformance.check(create({"name": "a"}, loud="true"), json_response({"name": "a"}, 201))
    conformance.complain()


@pytest.mark.parametrize(
    ("request_", "response", "violation"),
    [
        (create({"nam": "a"}), json_response({"name": "a"}, 201), "'nam' was unexpected"),
        (create({"name": "a"}), json_response({"name": 1}, 201), r"\$.name: 1 is not of type 'string'"),
        (create({"name": "a"}), json_response({"name": "a"}, 201, "text/plain"), "text/plain"),
        (create({"name": "a"}, loud="perhaps"), json_response({"name": "a"}, 201), "loud"),
        (create({"name": "a"}, quiet="1"), json_response({"name": "a"}, 201), "no parameter quiet: it is ignored"),
    ],
)
def test_everything_else_is(request_: Request, response: Response, violation: str) -> None:
    conformance = things()
    conformance.check(request_, response)
    with pytest.raises(AssertionError, match=f"POST /v1/things -> 201.*{violation}"):
        conformance.complain()


def test_a_request_that_was_refused_may_be_wrong() -> None:
    conformance = things()
    conformance.check(create({"nam": "a"}), problem(422, "Request validation failed."))
    conformance.complain()


def test_what_the_cloud_has_since_is_no_violation() -> None:
    property_ = Addition(("components", "schemas", "Thing", "properties", "colour"), {"type": "string"}, "its docs")
    parameter = {"name": "quiet", "in": "query", "schema": {"type": "boolean"}}
    conformance = things(property_, Addition(("paths", "/v1/things", "post", "parameters"), [parameter], "its docs"))
    conformance.check(create({"name": "a", "colour": "red"}, quiet="true"), json_response({"name": "a"}, 201))
    conformance.complain()


def test_a_path_that_the_file_lacks_is_not_its_business() -> None:
    conformance = things()
    conformance.check(Request("GET", "/elsewhere", {}, {}, b""), json_response({}))
    conformance.complain()


def test_of_a_stream_the_status_and_the_headers_are_checked() -> None:
    conformance = things()
    conformance.check(create({"name": "a"}), Response(201, iter((b"a",)), {"Content-Type": "text/event-stream"}))
    assert ["text/event-stream" in violation for violation in conformance.violations] == [True]


def test_without_the_file_nothing_is_checked_and_it_says_so(folder: Path) -> None:
    (folder / "things.json").unlink()
    conformance = things()
    conformance.check(create({"nam": "a"}), json_response({}, 201))
    conformance.complain()
    assert conformance.skipped == f"{folder / 'things.json'} is absent"
