"""All that the product reads of RunPod, Vast.ai and Lambda, recorded from their emulators through its own clients."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

from answers import Exchange, Recorder, Replay, Replayed, Time, http_through, threads_watched, without_waiting
from emulators.cloud import Cloud
from emulators.lambda_cloud import LambdaEmulator
from emulators.openapi import Conformance
from emulators.runpod import RunPodEmulator
from emulators.vast import VastEmulator
from mutations import Answer

from gpu_providers.base import Kind, LaunchRequest, Offer, Provider, ProviderContext, Resource, Search, Secret
from gpu_providers.errors import ProviderError
from gpu_providers.lambda_cloud.pacing import Pace
from gpu_providers.registry import load

FEW_ASKS = {"RTX 4090": 2, "L40S": 1}
EMULATORS: Mapping[str, Callable[[], Cloud]] = {
    "runpod": lambda: RunPodEmulator(engine="none", boot_s=0.0),
    "vast": lambda: VastEmulator(engine="none", boot_s=0.0, stock=FEW_ASKS),
    "lambda": lambda: LambdaEmulator(engine="none", boot_s=0.0),
}
QUICK = {"emulators.runpod.logs.KEEPALIVE_S": 0.05, "emulators.vast.logs.UPLOAD_S": 0.05}
NOBODY = {"runpod": "nobody", "vast": "999999", "lambda": "00000000000000000000000000000000"}
"""Ids of what does not exist."""
KEPT, NEW = "gpu-kept-1", "gpu-new-1"
"""Names: of what runs all the time, and of what is launched."""
PATIENCE_S = 20.0

Call = Callable[[Provider], Any]


@dataclass(frozen=True)
class Recording:
    """One call of a provider, and what its cloud answered."""

    cloud: str
    call: str
    run: Call = field(repr=False)
    exchanges: Sequence[Exchange] = field(repr=False)
    resource: Resource | None = field(default=None, repr=False)
    """What exists in truth, if the call is about it."""
    makes: str = ""
    """The name of what it makes, if it does."""


class Folder:
    """What a provider keeps, brought back to what it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: Mapping[Path, bytes] = {}

    def keep(self) -> None:
        self._kept = self._found()

    def restore(self) -> None:
        found = self._found()
        for path in found.keys() - self._kept.keys():
            path.unlink()
        for path, content in self._kept.items():
            if found.get(path) != content:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.write_bytes(content)

    def _found(self) -> Mapping[Path, bytes]:
        return {path: path.read_bytes() for path in self._path.rglob("*") if path.is_file()}


class Recorded:
    """The recordings of one cloud, and the provider through which they are played again."""

    def __init__(self, cloud: str, environ: Mapping[str, str], folder: Path, recordings: Sequence[Recording]) -> None:
        self.cloud = cloud
        self.recordings = recordings
        self.everything = [exchange for recording in recordings for exchange in recording.exchanges]
        self.time = Time()
        self.provider = _provider(cloud, environ, folder, replayed := Replayed(), self.time)
        self._replayed = replayed
        self._folder = Folder(folder)
        self._folder.keep()

    def world(self, recording: Recording, spoil: Callable[[int, Answer], Answer]) -> Replay:
        """What the call met, and behind it all that was to be seen at the same cloud while `KEPT` ran."""
        own = {exchange.asked for exchange in recording.exchanges}
        return Replay([*recording.exchanges, *(one for one in self._background if one.asked not in own)], spoil)

    @contextlib.contextmanager
    def played(self, replay: Replay) -> Iterator[Provider]:
        """The provider before that cloud."""
        if self.cloud == "lambda":
            self._folder.restore()
        self._replayed.replay = replay
        with without_waiting(self.time), threads_watched(replay):
            yield self.provider

    @cached_property
    def _background(self) -> Sequence[Exchange]:
        """What only looks, and saw it alive."""
        looks = [one for one in self.recordings if one.resource and one.call.startswith(("describe", "find", "list"))]
        return [exchange for one in looks for exchange in one.exchanges]


def recorded(cloud: str, folder: Path) -> Recorded:
    """Of this cloud, from an emulator that is gone when this returns. `folder` is its provider's own."""
    with contextlib.ExitStack() as stack:
        for name, seconds in QUICK.items():
            stack.enter_context(mock.patch(name, seconds))
        emulator = stack.enter_context(EMULATORS[cloud]())
        emulator.conformance = Conformance()  # others look at that
        environ = {**emulator.env, f"GPU_{cloud.upper()}_POLL_S": "0.05"}
        recorder = Recorder()
        provider = _provider(cloud, environ, folder, recorder)
        recordings = [
            Recording(cloud, call, run, _taken(recorder, run, provider), resource, makes)
            for call, run, resource, makes in _calls(cloud, provider, recorder)
        ]
    return Recorded(cloud, environ, folder, recordings)


def _taken(recorder: Recorder, run: Call, provider: Provider) -> Sequence[Exchange]:
    recorder.take()
    with contextlib.suppress(ProviderError):
        run(provider)
    return recorder.take()


def _provider(
    cloud: str, environ: Mapping[str, str], folder: Path, transport: Any, clock: Time | None = None
) -> Provider:
    state = Path("/dev/null/nothing") if cloud == "vast" else folder  # it would remember what it has found
    provider: Any = load(cloud, ProviderContext(state, environ))
    provider._client._http = http_through(transport, clock)
    if cloud == "lambda":
        provider._client._pace = Pace(Path("/dev/null/nothing"))  # as often as one likes
    return provider  # type: ignore[no-any-return]


def request_of(offer: Offer, name: str, **changes: Any) -> LaunchRequest:
    """A launch as the fleet makes it."""
    usual: dict[str, Any] = {
        "image": "vllm/vllm-openai:v0.32.0",
        "entrypoint": ("python3",),
        "command": ("-c", "pass"),
        "env": {"GPU_SUPERVISOR": "{}"},
        "secret_env": {"VLLM_API_KEY": Secret("sk-of-the-engine")},
        "port": 8000,
        "disk_gib": 60,
        "labels": {"name": "kept", "recipe": "llama", "deadline_at": "1800000000.5"},
        "options": {},
        "idle_s": 60.0 if offer.kind is Kind.SERVERLESS else 0.0,
    }
    return LaunchRequest(name=name, offer=offer, **{**usual, **changes})


Described = tuple[str, Call, Resource | None, str]
"""The name of a call, the call, what exists that it is about, and what it makes."""


def _calls(cloud: str, provider: Provider, recorder: Recorder) -> Iterator[Described]:
    """Each is made, and its answers taken, before the next one is asked for."""
    yield ("offers", lambda p: p.offers(Search(disk_gib=60)), None, "")
    offer = provider.offers(Search(disk_gib=60))[0]
    yield from _life(provider, offer, KEPT, NEW, "")
    if cloud == "runpod":
        serverless = Search(kind=Kind.SERVERLESS, disk_gib=60)
        yield ("offers of serverless", lambda p: p.offers(serverless), None, "")
        yield from _life(provider, provider.offers(serverless)[0], "gpu-kept-2", "gpu-new-2", " an endpoint")
    yield ("check", lambda p: p.check(), None, "")
    yield ("balance", lambda p: p.balance_usd(), None, "")
    yield ("kept", lambda p: p.kept(), None, "")
    nobody = NOBODY[cloud]
    yield ("describe nobody", lambda p: p.describe(nobody), None, "")
    yield ("find nobody", lambda p: p.find("gpu-nobody-1"), None, "")
    yield ("terminate nobody", lambda p: p.terminate(nobody), None, "")
    if cloud != "vast":
        yield from _volumes({"runpod": "EU-RO-1", "lambda": "us-east-3"}[cloud])


def _life(provider: Provider, offer: Offer, kept: str, new: str, of: str) -> Iterator[Described]:
    resource = _running(provider, provider.launch(request_of(offer, kept)))
    one = resource.resource_id
    yield (f"launch{of}", lambda p: p.launch(request_of(offer, new)), None, new)
    yield (f"describe{of}", lambda p: p.describe(one), resource, "")
    yield (f"find{of}", lambda p: p.find(kept), resource, "")
    yield (f"list{of}", lambda p: p.list_resources(), resource, "")
    yield (f"boot{of}", lambda p: p.boot(one), resource, "")
    yield (f"logs{of}", lambda p: list(p.logs(one, tail=20)), resource, "")
    yield (f"environment{of}", lambda p: p.environment(one), resource, "")
    launched = provider.find(new)
    assert launched
    yield (f"terminate{of}", lambda p: p.terminate(launched.resource_id), None, "")


def _running(provider: Provider, resource: Resource) -> Resource:
    """Once the cloud has seen it."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not (found := provider.find(resource.name)):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    time.sleep(0.3)
    return found


def _volumes(region: str) -> Iterator[Described]:
    made: list[Any] = []
    yield ("create volume", lambda p: made.append(volume := p.create_volume("weights", 50, region)) or volume, None, "")
    yield ("volumes", lambda p: p.volumes(), None, "")
    one = made[0].volume_id
    yield ("delete volume", lambda p: p.delete_volume(one), None, "")
