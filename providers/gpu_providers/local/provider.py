"""This machine in our nouns: a process with its descendants is a resource."""

import errno
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gpu_providers.base import (
    RESOURCE_PREFIX,
    Check,
    LaunchRequest,
    Offer,
    Provider,
    ProviderContext,
    Resource,
    ResourceState,
    Search,
)
from gpu_providers.errors import CreateUnknown, InvalidRequest, NotFound, ProviderError, ProviderUnavailable
from gpu_providers.local import client, group, logs, machine, record
from gpu_providers.local.group import Group
from gpu_providers.local.options import parse_options
from gpu_providers.local.record import Record

_OUTPUT = "output.log"
_NAME = re.compile(re.escape(RESOURCE_PREFIX) + r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CREDENTIALS = re.compile(
    r"RUNPOD_API_KEY|VAST_API_KEY|LAMBDA_API_KEY|MODAL_TOKEN_.*|AWS_.*|HF_TOKEN|HUGGING_FACE_HUB_TOKEN"
)
"""The user's own. A process does not inherit them: what it needs is given to it by name."""
_FORGET_AFTER_S = 7 * 86400.0
_FAULTS_OF_THE_COMMAND = {errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.EISDIR, errno.ENOEXEC, errno.E2BIG}


class LocalProvider(Provider):
    """Runs the command as a process of this machine, in a folder of its own below the context's `state_dir`.

    A resource's id is its name. It exists while its main process or any descendant of that lives.
    """

    name = "local"
    poll_interval_s = 0.5

    def __init__(self, context: ProviderContext, *, grace_s: float = 20.0) -> None:
        """`grace_s` is how long the main process may take to end after SIGTERM before everything is killed.

        The supervisor grants its engine 15 s of it.
        """
        super().__init__(context)
        self._root = context.state_dir.resolve()
        self._grace_s = grace_s

    def offers(self, search: Search) -> Sequence[Offer]:
        price = parse_options(search.options).price_usd_per_hour
        return machine.offers(self.context.environ, price, datetime.now(UTC))

    def why_no_offers(self, search: Search) -> str:  # noqa: ARG002 - the CPU is always on offer
        return ""

    def launch(self, request: LaunchRequest) -> Resource:
        _check_request(request)
        self._forget_old()
        folder = self._make_folder(request.name)
        try:
            return self._start(folder, request)
        except CreateUnknown:
            raise
        except ProviderError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def find(self, name: str) -> Resource | None:
        if not _NAME.fullmatch(name):
            return None
        found = group.look(self._root / name)
        return _resource(name, found) if found else None

    def describe(self, resource_id: str) -> Resource:
        resource = self.find(resource_id)
        if resource is None:
            raise NotFound(f"no process of {resource_id} runs on this machine")
        return resource

    def terminate(self, resource_id: str) -> None:
        if _NAME.fullmatch(resource_id) and not group.end(self._root / resource_id, self._grace_s):
            raise ProviderUnavailable(
                f"a process of {resource_id} has survived SIGKILL",
                hint="it hangs in the kernel, most often in a driver; only a restart of the machine ends it",
            )

    def list_resources(self) -> Sequence[Resource]:
        marked = client.marked(self._root)
        folders = sorted({*self._root.glob(f"{RESOURCE_PREFIX}*"), *marked})
        found = {folder.name: group.look(folder, lambda folder: marked.get(folder, ())) for folder in folders}
        return [_resource(name, living) for name, living in found.items() if living and _NAME.fullmatch(name)]

    def logs(
        self,
        resource_id: str,
        *,
        tail: int | None = None,
        follow: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[str]:
        if not _NAME.fullmatch(resource_id):
            raise NotFound(f"there is no log of {resource_id} on this machine")
        try:
            return logs.lines(
                self._root / resource_id / _OUTPUT,
                tail=tail,
                ended=lambda: not follow or self.find(resource_id) is None,
                stop=stop,
            )
        except FileNotFoundError as error:
            raise NotFound(f"there is no log of {resource_id} on this machine") from error
        except OSError as error:
            raise ProviderUnavailable(f"the log of {resource_id} cannot be read: {error.strerror}") from error

    def check(self) -> Sequence[Check]:
        return machine.checks(self.context.environ, self._root)

    def _make_folder(self, name: str) -> Path:
        folder = self._root / name
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
        except FileExistsError as error:
            raise InvalidRequest(f"the name {name} has been used on this machine", hint="use a new name") from error
        except OSError as error:
            raise _cannot_write(self._root, error) from error
        return folder

    def _start(self, folder: Path, request: LaunchRequest) -> Resource:
        """Intent, process, pid, in this order: whoever is killed in between leaves a process with our marker."""
        entry = _intent(request)
        _save(folder, entry)
        env = _environment(self.context.environ, request)
        try:
            process = client.start(request.command, folder=folder, output=folder / _OUTPUT, env=env)
        except (OSError, ValueError) as error:
            raise _cannot_start(request.command[0], error) from error
        entry = replace(entry, process=process)
        try:
            _save(folder, entry)
        except ProviderUnavailable as error:
            client.send([process], signal.SIGKILL)
            if not group.kill(folder):
                raise CreateUnknown(f"{error.message}, and the process {process.pid} does not end") from error
            raise
        return _resource(request.name, Group(entry, process, (process,)))

    def _forget_old(self) -> None:
        """Remove what resources that ended long ago have left: their records and logs."""
        old = [folder for folder in self._root.glob(f"{RESOURCE_PREFIX}*") if _is_old(folder)]
        living = {resource.name for resource in self.list_resources()} if old else set()
        for folder in old:
            if folder.name not in living:
                shutil.rmtree(folder, ignore_errors=True)


def _check_request(request: LaunchRequest) -> None:
    parse_options(request.options)
    if not _NAME.fullmatch(request.name):
        raise InvalidRequest(
            f"{request.name!r} cannot be the name of a resource",
            hint=f"it begins with {RESOURCE_PREFIX} and has up to 100 letters, digits, dots, dashes and underscores",
        )
    if not request.command:
        raise InvalidRequest("there is no command to run")
    if not 1 <= request.port <= 65535:
        raise InvalidRequest(f"port {request.port} does not exist", hint="give a number from 1 to 65535")
    if trouble := client.port_trouble(request.port):
        raise InvalidRequest(f"port {request.port}: {trouble}", hint="give another port, or leave it out")


def _intent(request: LaunchRequest) -> Record:
    return Record(
        labels=request.labels,
        offer_id=request.offer.offer_id,
        gpu=request.offer.gpu,
        gpu_count=request.offer.gpu_count,
        price_usd_per_hour=request.offer.price_usd_per_hour,
        endpoint=f"http://127.0.0.1:{request.port}",
        created_at=datetime.now(UTC),
    )


def _environment(environ: Mapping[str, str], request: LaunchRequest) -> Mapping[str, str]:
    inherited = {name: value for name, value in environ.items() if not _CREDENTIALS.fullmatch(name)}
    secrets = {name: secret.reveal() for name, secret in request.secret_env.items()}
    # Cards in the order of nvidia-smi, by which the offers were made; CUDA's own is fastest first.
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **inherited, **request.env, **secrets}


def _resource(name: str, living: Group) -> Resource:
    state = ResourceState.RUNNING if living.main else ResourceState.BROKEN
    detail = f"process {living.main.pid}" if living.main else f"its process has died; {_pids(living)} still run"
    entry = living.entry
    return Resource(
        provider=LocalProvider.name,
        resource_id=name,
        name=name,
        state=state,
        endpoint=entry.endpoint if entry else "",
        price_usd_per_hour=entry.price_usd_per_hour if entry else 0.0,
        created_at=entry.created_at if entry else datetime.fromtimestamp(living.found[0].created_s, UTC),
        labels=entry.labels if entry else {},
        detail=detail,
    )


def _pids(living: Group) -> str:
    return ", ".join(str(process.pid) for process in living.found)


def _save(folder: Path, entry: Record) -> None:
    try:
        record.save(folder, entry)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _cannot_write(folder: Path, error: OSError) -> ProviderUnavailable:
    return ProviderUnavailable(f"{folder} cannot be written: {error.strerror}", hint="free some space or set GPU_HOME")


def _cannot_start(program: str, error: OSError | ValueError) -> ProviderError:
    if isinstance(error, OSError) and error.errno not in _FAULTS_OF_THE_COMMAND:
        return ProviderUnavailable(f"{program} cannot be started: {error.strerror}")
    return InvalidRequest(f"{program} cannot be started: {getattr(error, 'strerror', error)}")


def _is_old(folder: Path) -> bool:
    """Ours, by its record, and untouched for long."""
    try:
        return record.load(folder) is not None and time.time() - record.last_used_s(folder) > _FORGET_AFTER_S
    except OSError:
        return False
