"""RunPod's OpenAPI file, and what it lacks: the cloud has had it since, or never put it in."""

from ..openapi import Addition, Specification

_NEWER = "alchemy-run/distilled: types generated from a newer file; skypilot-org/skypilot#10846"
_ITS_OWN_EXAMPLE = (
    "the file's example of a log event has the id `2026-06-01T12:02:03Z/000000000001`, which clients send back"
)
_WORDS = {"type": "array", "items": {"type": "string"}}
_COUNT = {"type": "integer", "minimum": 1}


def _of_the_container(name: str) -> Addition:
    return Addition(("components", "schemas", "BaseContainerConfig", "properties", name), _WORDS, _NEWER)


def _of_the_gpu(name: str) -> Addition:
    return Addition(("components", "schemas", "CreateGpuConfig", "allOf", 1, "properties", name), _COUNT, _NEWER)


def _of_lists(path: str, name: str, kind: str) -> Addition:
    parameter = {"name": name, "in": "query", "required": False, "schema": {"type": kind}}
    return Addition(("paths", path, "get", "parameters"), [parameter], _NEWER)


LISTS = ("/v2/pods", "/v2/serverless", "/v2/network-volumes")
RUNPOD = Specification(
    "runpod-v2-openapi.json",
    "https://api.runpod.io",
    (
        _of_the_container("entrypoint"),
        _of_the_container("cmd"),
        _of_the_gpu("minRamPerGpu"),
        _of_the_gpu("minVcpuCountPerGpu"),
        Addition(("components", "parameters", "LogLastEventID", "schema"), {"type": "string"}, _ITS_OWN_EXAMPLE),
        *(_of_lists(path, name, kind) for path in LISTS for name, kind in (("limit", "integer"), ("cursor", "string"))),
    ),
)
