"""Modal's images: layers of Dockerfile commands on what a registry has. None is really built: all are this machine.

Sources: the installed SDK (_image.py); the page "Images" of Modal's guide. What a real builder would refuse fails the
build here, which is told as Modal tells it: a result of the build, with what it has said.
"""

import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from .account import BUILDER
from .front import Take
from .logs import STDERR, STDOUT, Logs
from .server import not_found

SUCCESS = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
FAILURE = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE)
INSTRUCTIONS = (
    *("FROM", "RUN", "COPY", "ADD", "ENV", "ARG", "ENTRYPOINT", "CMD", "WORKDIR", "SHELL", "USER", "LABEL"),
    *("EXPOSE", "VOLUME", "STOPSIGNAL", "HEALTHCHECK"),
)
NAME = r"([\w.-]+(:\d+)?/)*[a-z0-9]+([._-]+[a-z0-9]+)*"
REFERENCE = re.compile(rf"{NAME}(:\w[\w.-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?")
"""Of an image in a registry, or of the layer below."""
OF_VLLM = re.compile(r"FROM (docker\.io/)?vllm/vllm-openai\b")
HAS_PYTHON = re.compile(r"^RUN .*/bin/python\b(?![\d.])")
"""A command that makes one."""
BUILDERS = "ap-builders000000000000000"
"""The app that builds images."""
SHORTEST_S = 0.001
"""What a build takes at least: a log is told up to, and without, its end."""
FAILS = "error: failed to solve: process did not complete successfully: exit code: 1"


@dataclass(frozen=True)
class Build:
    """One layer, and how the build of it went, in a container of an app of Modal's own."""

    id: str
    image: api_pb2.Image
    task_id: str
    lines: Sequence[tuple[str, int]]
    """What was said, and where."""
    failed: bool
    began_at: float
    ended_at: float


class Images:
    """Called in the server's loop, under the cloud's lock. `take` is Misbehaviour.take, under it."""

    def __init__(self, take: Take, logs: Logs) -> None:
        self._take = take
        self._logs = logs
        self._builds: dict[str, Build] = {}

    def unfit(self, id_: str) -> str:
        """What its containers say when Modal's runtime cannot be started there; nothing when it can. Raises GRPCError.

        vLLM's images have an entrypoint, to which the runtime's command is only arguments, and no `python`.
        """
        commands = [command for build in self._chain(id_) for command in build.image.dockerfile_commands]
        if not commands or not OF_VLLM.match(commands[0]):
            return ""
        if "ENTRYPOINT []" not in commands:
            return "vllm: error: unrecognized arguments: -u -R -m modal._container_entrypoint"
        return "" if any(HAS_PYTHON.search(command) for command in commands) else "python: executable file not found"

    def ImageGetOrCreate(self, request: api_pb2.ImageGetOrCreateRequest) -> api_pb2.ImageGetOrCreateResponse:  # noqa: N802
        """The same one for the same commands, without a second build once that has succeeded."""
        id_ = _id(request.image)
        built = self._builds.get(id_)
        if built and not built.failed and not request.force_build:
            return api_pb2.ImageGetOrCreateResponse(image_id=id_, result=SUCCESS, metadata=_metadata())
        for base in request.image.base_images:
            self._get(base.image_id)
        self._builds[id_] = self._build(id_, request.image)
        return api_pb2.ImageGetOrCreateResponse(image_id=id_)

    async def ImageJoinStreaming(  # noqa: N802
        self, request: api_pb2.ImageJoinStreamingRequest
    ) -> AsyncIterator[api_pb2.ImageJoinStreamingResponse]:
        build = self._get(request.image_id)
        said = [api_pb2.TaskLogs(data=f"{text}\n", file_descriptor=source) for text, source in build.lines]
        yield api_pb2.ImageJoinStreamingResponse(task_logs=said, entry_id="1")
        result = FAILURE if build.failed else SUCCESS
        yield api_pb2.ImageJoinStreamingResponse(result=result, metadata=_metadata(), eof=True, entry_id="2")

    def ImageFromId(self, request: api_pb2.ImageFromIdRequest) -> api_pb2.ImageFromIdResponse:  # noqa: N802
        self._get(request.image_id)
        return api_pb2.ImageFromIdResponse(image_id=request.image_id, metadata=_metadata())

    def ImageBuildChainGet(self, request: api_pb2.ImageBuildChainGetRequest) -> api_pb2.ImageBuildChainGetResponse:  # noqa: N802
        """Where the logs of its layers are."""
        steps = [
            api_pb2.ImageBuildStep(
                image_id=build.id,
                started_at=_timestamp(build.began_at),
                finished_at=_timestamp(build.ended_at),
                builder_app_id=BUILDERS,
                builder_task_id=build.task_id,
            )
            for build in self._chain(request.image_id)
        ]
        return api_pb2.ImageBuildChainGetResponse(build_steps=steps)

    def _build(self, id_: str, image: api_pb2.Image) -> Build:
        rule = self._take("image-build-failed", call="create")
        error = (rule.text or FAILS) if rule else _complaint(image.dockerfile_commands)
        lines = [(f"=> {command}", STDOUT) for command in image.dockerfile_commands]
        lines += [(error, STDERR)] if error else []
        task_id, began_at = f"ta-{secrets.token_hex(11)}", time.time()
        for text, source in lines:
            self._logs.say(BUILDERS, "", task_id, text, source)
        return Build(id_, image, task_id, lines, bool(error), began_at, time.time() + SHORTEST_S)

    def _chain(self, id_: str) -> Iterator[Build]:
        """The layers, the lowest first."""
        build = self._get(id_)
        for base in build.image.base_images:
            yield from self._chain(base.image_id)
        yield build

    def _get(self, id_: str) -> Build:
        if id_ not in self._builds:
            raise not_found(f"Image {id_}")
        return self._builds[id_]


def _complaint(commands: Sequence[str]) -> str:
    """Of a builder about the first thing that it cannot read, or nothing."""
    starts = [line for line in _instructions(commands) if line and not line.startswith("#")]
    for line in starts:
        if line.split()[0].upper() not in INSTRUCTIONS:
            return f"dockerfile parse error: unknown instruction: {line.split()[0]}"
    if not starts or not starts[0].upper().startswith("FROM "):
        return "dockerfile parse error: no build stage in current context"
    reference = next(word for word in starts[0].split()[1:] if not word.startswith("--"))
    return "" if REFERENCE.fullmatch(reference) else f"error: invalid reference format: {reference}"


def _instructions(commands: Sequence[str]) -> list[str]:
    """The lines that begin one: a backslash at a line's end goes on."""
    return re.sub(r"\\\n", " ", "\n".join(commands)).splitlines()


def _id(image: api_pb2.Image) -> str:
    return f"im-{hashlib.sha256(image.SerializeToString(deterministic=True)).hexdigest()[:22]}"


def _timestamp(at: float) -> Timestamp:
    return Timestamp(seconds=int(at), nanos=int(at % 1 * 1e9))


def _metadata() -> api_pb2.ImageMetadata:
    return api_pb2.ImageMetadata(image_builder_version=BUILDER, python_version_info="Python 3.12.11")
