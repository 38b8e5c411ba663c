"""Runs an inference engine and ends it: on idleness, at its deadline, when it dies or hangs. Main process of a node.

One file, standard library only, Python 3.9 or newer: `python supervisor.py`. Nothing here knows a cloud.

Configuration is one JSON document in the environment variable GPU_SUPERVISOR:

    version             1
    name                the resource's name
    engine              argument list of the engine, a server with vLLM's HTTP routes
    port, scheme        where it listens on loopback; scheme `https` may be self-signed
    idle_s              end after so long without work, counted from the first readiness
    deadline_s          end so long after the very first start, whatever happens; restarts do not reset it
    launched_at         optional: when the resource was ordered, seconds since 1970 UTC (null). A start that finds no
                        record on its disk counts the deadline from there, since a restart may have wiped the disk. A
                        clock that is behind makes it count from now, one that is ahead makes it end too early: the
                        error that costs nothing
    start_deadline_s    end when not ready after so long
    hung_s              end when metrics stay silent, or claimed work does not move, for so long
    state_dir           folder for `supervisor.json` (survives restarts) and `status.json` (for readers, every tick)
    destroy             null, or how to destroy the resource (see `parse_destroy`)
    engine_env_without  names of variables that the engine does not get
    tick_s, grace_s     optional: how often it looks (1), how long an engine that was ready may take to stop (15)

With `destroy` null, or without the credential that it names in the environment, nothing on this node can destroy the
resource: `can_destroy` in `status.json` is false. At the end the engine is stopped and this process exits all the same.
For a process of the user's own machine that is all there is to end; elsewhere others have to destroy what is left.

The engine's key is the environment variable VLLM_API_KEY. The engine also gets GPU_SUPERVISOR_STATUS, the path of
`status.json`. It inherits stdout and stderr; lines of the supervisor's own begin with `[supervisor] `.

It ends with one of the reasons in `Reason`. Exit status: 0 for idle, deadline and terminated, 1 for the others, 2 for
a bad configuration. SIGTERM and SIGINT stop the engine without destroying the resource: whoever sends them is ending
it. A second one cuts the engine's grace short. Once it has begun to end, for whatever reason, a restart never starts
the engine again: it goes on destroying the resource until that is gone.

What counts as work, from `/metrics` as vLLM 0.32 serves it, each summed over its labels:

    vllm:num_requests_running, vllm:num_requests_waiting       above zero: there is work now
    vllm:request_success_total                                 moved: requests ended since the last look
    vllm:prompt_tokens_total, vllm:generation_tokens_total     moved: so did tokens; a request whose client hangs up
                                                               is seen here only, not in request_success_total
    vllm:admission_rejections_total                            moved: requests were turned away by a full queue

The engine is alive while any `vllm:` sample moves; `vllm:kv_cache_usage_perc` does during a long prefill, when no
counter does.

Where there is an `nvidia-smi`, the memory of the cards is in `status.json` too, as of half a minute ago at the most.
"""

from __future__ import annotations

import contextlib
import enum
import http.client
import json
import math
import os
import re
import select
import signal
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

HTTP_TIMEOUT_S = 30.0
"""Long, because a server that streams at full speed can take many seconds to answer `/metrics`, and is not hung."""
LARGEST_BODY = 8 * 2**20
"""Bytes of an answer that are read. Metrics of many engines come to a few hundred thousand."""
LONGEST_BACKOFF_S = 60.0
DESTROY_S = 7200.0
"""A cloud that has not done it by then refuses, or is out of reach, for good."""
KILL_WAIT_S = 10.0
LOADING_GRACE_S = 2.0
"""For an engine that has never been ready: nothing is in flight, and vLLM does not heed SIGTERM until it has loaded."""
POLL_S = 0.05
PERSIST_S = 10.0
MEMORY_EVERY_S = 30.0
"""A server takes its memory when it starts, and a call of `nvidia-smi` can take a second of a core."""
LONGEST_STEP_S = 10.0
"""A longer pause between two looks means that this machine slept; sleep is not the engine's silence."""

ACTIVITY = (
    "vllm:request_success_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:admission_rejections_total",
)


# --- configuration ---------------------------------------------------------------------------------------------------


class BadConfig(Exception):
    """The configuration cannot be used; the text is one line and holds no secret."""


@dataclass(frozen=True)
class Limits:
    """When to end, in seconds."""

    idle_s: float
    deadline_s: float
    start_deadline_s: float
    hung_s: float


@dataclass(frozen=True)
class Call:
    """One HTTP request. `{NAME}` in the URL, the headers and the body stands for that environment variable."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str = ""
    """A JSON document, its variables inside of strings; empty for none."""


@dataclass(frozen=True)
class Destroy:
    """How the resource is destroyed, and how the cloud says, to the call or to the check, that it is gone."""

    call: Call
    check: Call
    gone: tuple[tuple[int, re.Pattern[str]], ...]
    """HTTP statuses, each with what the body must hold: a wrong key can have the same status."""

    def says_gone(self, status: int, body: bytes) -> bool:
        """Whether this answer means that the resource does not exist any more."""
        text = body.decode("utf-8", "replace")
        return any(status == gone_status and pattern.search(text) for gone_status, pattern in self.gone)

    def variables(self) -> tuple[str, ...]:
        """Names of all that has to be in the environment for it."""
        texts = (self.call.url, self.call.body, self.check.url, *self.call.headers.values())
        return tuple(sorted({name for text in texts for name in VARIABLE.findall(text)}))


@dataclass(frozen=True)
class Config:
    """See the module's docstring."""

    name: str
    engine: tuple[str, ...]
    base_url: str
    limits: Limits
    state_dir: Path
    destroy: Optional[Destroy]
    engine_env_without: tuple[str, ...]
    tick_s: float
    grace_s: float
    launched_at: Optional[float]


VARIABLE = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")
NUMBER = (int, float)
SECONDS = ("idle_s", "deadline_s", "start_deadline_s", "hung_s", "tick_s", "grace_s")
DEFAULTS: Mapping[str, object] = {
    "destroy": None,
    "engine_env_without": [],
    "tick_s": 1.0,
    "grace_s": 15.0,
    "launched_at": None,
}
CONFIG_TYPES: Mapping[str, Any] = {
    "version": int,
    "name": str,
    "engine": list,
    "port": int,
    "scheme": str,
    **dict.fromkeys(SECONDS, NUMBER),
    "state_dir": str,
    "destroy": (dict, type(None)),
    "engine_env_without": list,
    "launched_at": (*NUMBER, type(None)),
}
DESTROY_TYPES = {
    "method": str,
    "url": str,
    "headers": dict,
    "body": str,
    "check": dict,
    "gone": list,
    "user_agent": str,
}
CHECK_TYPES = {"method": str, "url": str}


def require(condition: object, problem: str) -> None:
    """Raises BadConfig unless the condition holds."""
    if not condition:
        raise BadConfig(f"GPU_SUPERVISOR: {problem}")


def fields(value: Any, types: Mapping[str, Any]) -> dict[str, Any]:
    """The object, which has exactly these fields of these types: a misspelt limit must not be a missing limit."""
    require(isinstance(value, dict), "a JSON object is expected")
    unknown = set(value) - set(types)
    require(not unknown, f"unknown fields: {', '.join(sorted(unknown))}")
    for name, kind in types.items():
        given = value.get(name)
        require(isinstance(given, kind) and not isinstance(given, bool), f"{name} is missing or of the wrong type")
    return dict(value)


def parse_config(text: str) -> Config:
    """Raises BadConfig."""
    try:
        document = json.loads(text)
    except ValueError:
        raise BadConfig("GPU_SUPERVISOR: no JSON document") from None
    require(isinstance(document, dict), "a JSON object is expected")
    given = fields({**DEFAULTS, **document}, CONFIG_TYPES)
    require(given["version"] == 1, "version must be 1")
    require(given["engine"], "engine is empty")
    require(all(isinstance(item, str) for item in given["engine"]), "engine must hold strings")
    require(given["scheme"] in ("http", "https"), "scheme must be http or https")
    require(0 < given["port"] < 65536, "port is no TCP port")
    for name in SECONDS:
        require(0 < given[name] < 1e9, f"{name} must be above zero and below a billion")
    require(0 <= (given["launched_at"] or 0) < 1e11, "launched_at is no time")
    return Config(
        name=given["name"],
        engine=tuple(given["engine"]),
        base_url=f"{given['scheme']}://127.0.0.1:{given['port']}",
        limits=Limits(given["idle_s"], given["deadline_s"], given["start_deadline_s"], given["hung_s"]),
        state_dir=Path(given["state_dir"]).absolute(),
        destroy=None if given["destroy"] is None else parse_destroy(given["destroy"]),
        engine_env_without=tuple(given["engine_env_without"]),
        tick_s=given["tick_s"],
        grace_s=given["grace_s"],
        launched_at=given["launched_at"],
    )


def parse_destroy(value: object) -> Destroy:
    """`{"method", "url", "headers", "body", "user_agent", "check": {"method", "url"}, "gone": [[status, pattern], …]}`.

    `body` is JSON for the call, or empty; the check has none. `{NAME}` in URLs, headers and body stands for an
    environment variable. Raises BadConfig.
    """
    given = fields(value, DESTROY_TYPES)
    check = fields(given["check"], CHECK_TYPES)
    require(given["gone"], "gone is empty")
    for url in (given["url"], check["url"]):
        require(url.startswith(("https://", "http://")), "destroy needs http(s) URLs")
    headers = {**{str(name): str(text) for name, text in given["headers"].items()}, "User-Agent": given["user_agent"]}
    body = parse_body(given["body"])
    of_body = {"Content-Type": "application/json"} if body else {}
    return Destroy(
        call=Call(given["method"], given["url"], {**headers, **of_body}, body),
        check=Call(check["method"], check["url"], headers),
        gone=tuple(parse_gone(pair) for pair in given["gone"]),
    )


def parse_body(text: str) -> str:
    """The text itself, which is empty or a JSON document. Raises BadConfig."""
    try:
        if text:
            json.loads(text)
    except (ValueError, RecursionError):
        raise BadConfig("GPU_SUPERVISOR: the body of destroy is no JSON document") from None
    return text


def parse_gone(pair: Any) -> tuple[int, re.Pattern[str]]:
    """One status and what the body must hold. Raises BadConfig."""
    shaped = isinstance(pair, list) and [type(item) for item in pair] == [int, str]
    require(shaped, "gone must hold pairs of a status and a pattern")
    status, pattern = pair
    try:
        return status, re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        raise BadConfig(f"GPU_SUPERVISOR: the pattern of {status} in gone is no regular expression") from None


# --- the decision: pure ----------------------------------------------------------------------------------------------


class Reason(enum.Enum):
    """Why it ended. Stable words: others read them."""

    IDLE = "idle"
    DEADLINE = "deadline"
    START_DEADLINE = "start-deadline"
    ENGINE_DIED = "engine-died"
    ENGINE_HUNG = "engine-hung"
    TERMINATED = "terminated"


ORDERLY = (Reason.IDLE, Reason.DEADLINE, Reason.TERMINATED)


@dataclass(frozen=True)
class End:
    """The decision to end."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Metrics:
    """The `vllm:` samples of one answer, summed over labels, and when it came."""

    at_s: float
    totals: Mapping[str, float]

    @property
    def running(self) -> int:
        """Requests that the engine works on."""
        return int(self.totals["vllm:num_requests_running"])

    @property
    def waiting(self) -> int:
        """Requests in its queue."""
        return int(self.totals.get("vllm:num_requests_waiting", 0))

    @property
    def finished(self) -> int:
        """Requests that ended, well or badly, since the engine started."""
        return int(self.totals.get("vllm:request_success_total", 0))

    def working(self) -> bool:
        """Whether the engine says that there is work now."""
        return self.running > 0 or self.waiting > 0

    def activity(self) -> tuple[float, ...]:
        """Differs between two answers when there was work between them."""
        return tuple(self.totals.get(name, 0) for name in ACTIVITY)


@dataclass(frozen=True)
class Track:
    """The engine as seen so far. Points in time are on the `uptime_s` clock; None means: not yet."""

    looked_s: float
    ready_s: Optional[float] = None
    worked_s: float = 0.0
    """When there was last work; the moment of readiness before there was any."""
    metrics: Optional[Metrics] = None
    silent_s: float = 0.0
    """How long, in looks rather than by the clock, metrics have not answered."""
    stuck_s: float = 0.0
    """How long, in looks, work has been claimed while nothing moved."""

    def idle_s(self) -> float:
        """How long there was no work, as far as the last answer proves: silence proves nothing."""
        if self.ready_s is None or self.metrics is None:
            return 0.0
        return max(0.0, self.metrics.at_s - self.worked_s)


def advance(track: Track, *, ready: bool, metrics: Optional[Metrics], now_s: float) -> Track:
    """One look further; `metrics` is the latest answer, which may be one that was seen before."""
    step_s = min(max(0.0, now_s - track.looked_s), LONGEST_STEP_S)
    track = replace(track, looked_s=now_s)
    if not ready:
        return track
    if track.ready_s is None:
        track = replace(track, ready_s=now_s, worked_s=now_s)
    last = track.metrics
    if metrics is None or metrics is last:
        stuck_s = track.stuck_s + step_s if last and last.working() else 0.0
        return replace(track, silent_s=track.silent_s + step_s, stuck_s=stuck_s)
    moved = last is None or metrics.totals != last.totals
    active = metrics.working() or (last is not None and metrics.activity() != last.activity())
    return replace(
        track,
        metrics=metrics,
        worked_s=metrics.at_s if active else track.worked_s,
        silent_s=0.0,
        stuck_s=track.stuck_s + step_s if metrics.working() and not moved else 0.0,
    )


@dataclass(frozen=True)
class Seen:
    """What `decide` judges, all of it plain numbers."""

    elapsed_s: float
    """Since the very first start."""
    loading_s: Optional[float]
    """Since this start, while the engine has not been ready; None afterwards."""
    idle_s: float
    silent_s: float
    stuck_s: float
    working: bool
    engine_exit: Optional[int]
    """Exit status, negative for a signal; None while it runs."""
    terminated: bool


def decide(limits: Limits, seen: Seen) -> Optional[End]:
    """Whether to end now, and why; None means go on. Pure.

    Loading is never idleness, and neither is silence. The deadline asks for nothing but the time.
    """
    if seen.terminated:
        return End(Reason.TERMINATED, "signal received")
    if seen.engine_exit is not None:
        return End(Reason.ENGINE_DIED, describe_exit(seen.engine_exit))
    if seen.elapsed_s >= limits.deadline_s:
        return End(Reason.DEADLINE, f"{limits.deadline_s:g} s since the start")
    if seen.loading_s is not None:
        late = seen.loading_s >= limits.start_deadline_s
        return End(Reason.START_DEADLINE, f"not ready after {limits.start_deadline_s:g} s") if late else None
    if seen.silent_s >= limits.hung_s:
        return End(Reason.ENGINE_HUNG, f"metrics silent for {limits.hung_s:g} s")
    if seen.stuck_s >= limits.hung_s:
        return End(Reason.ENGINE_HUNG, f"requests without progress for {limits.hung_s:g} s")
    if not seen.working and seen.idle_s >= limits.idle_s:
        return End(Reason.IDLE, f"no work for {limits.idle_s:g} s")
    return None


def describe_exit(status: int) -> str:
    """Of a status as `Seen.engine_exit` has it."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


# --- clocks, disk, output --------------------------------------------------------------------------------------------


def uptime_s() -> float:
    """Seconds that include the machine's sleep and ignore changes of the wall clock.

    `time.monotonic` leaves sleep out on both systems; CLOCK_MONOTONIC itself includes it on macOS.
    """
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """Tells one boot of the machine from another; empty where the system has no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def say(text: str) -> None:
    """One line on stdout. Nobody listening is no reason to stop working."""
    with contextlib.suppress(OSError):
        os.write(1, f"[supervisor] {text}\n".encode())


class NotServing(Exception):
    """The engine answered, but not as one that serves; the text is ours and safe to show."""


def describe_error(error: Exception) -> str:
    """Never the full text of others' errors: an HTTP library's may quote a header."""
    if isinstance(error, NotServing):
        return str(error)
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def write_json(path: Path, document: Mapping[str, object], *, durable: bool) -> None:
    """Atomic: readers see the old document or the new one. `durable` survives a power cut. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


@dataclass(frozen=True)
class Record:
    """What survives a restart: the time used up, on three clocks, and whether it was ending."""

    name: str
    elapsed_s: float
    boot_id: str
    uptime_s: float
    wall_s: float
    started_at: float
    ending: Optional[End] = None

    def elapsed_now(self, *, boot: str, now_s: float, wall_s: float) -> float:
        """The time used up, the pause included; it never goes down, whatever the clocks did."""
        same_boot = bool(boot) and boot == self.boot_id
        return self.elapsed_s + max(0.0, now_s - self.uptime_s if same_boot else wall_s - self.wall_s)

    def to_json(self) -> dict[str, object]:
        """What `from_json` reads."""
        ending = self.ending and {"reason": self.ending.reason.value, "detail": self.ending.detail}
        return {"version": 1, **self.__dict__, "ending": ending}

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Raises ValueError for anything that `to_json` did not write."""
        try:
            stored = json.loads(text)
            ending = stored["ending"]
            record = cls(
                name=str(stored["name"]),
                boot_id=str(stored["boot_id"]),
                **{name: float(stored[name]) for name in ("elapsed_s", "uptime_s", "wall_s", "started_at")},
                ending=None if ending is None else End(Reason(ending["reason"]), str(ending["detail"])),
            )
        except (TypeError, LookupError, OverflowError, RecursionError) as error:
            raise ValueError("not a record") from error
        if stored.get("version") != 1 or not 0 <= record.elapsed_s < math.inf:
            raise ValueError("not a record of this version")
        if not all(math.isfinite(value) for value in (record.uptime_s, record.wall_s, record.started_at)):
            raise ValueError("not a record of real times")
        return record


def load_record(path: Path, name: str, launched_at: Optional[float] = None) -> Record:
    """The stored record of this resource, brought up to now, or a new one; says why when one is not used.

    A new one begins at `launched_at`, or now where that is not known or still to come.
    """
    now_s, wall_s, boot = uptime_s(), time.time(), boot_id()
    started_at = wall_s if launched_at is None else min(launched_at, wall_s)
    new = Record(name, wall_s - started_at, boot, now_s, wall_s, started_at)
    instead = "now" if launched_at is None else "the launch"
    try:
        stored = Record.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return new
    except (OSError, ValueError) as error:
        say(f"{path.name} cannot be read ({describe_error(error)}): the deadline counts from {instead}")
        return new
    if stored.name != name:
        say(f"{path.name} is another resource's: the deadline counts from {instead}")
        return new
    elapsed_s = stored.elapsed_now(boot=boot, now_s=now_s, wall_s=wall_s)
    return replace(new, elapsed_s=elapsed_s, started_at=stored.started_at, ending=stored.ending)


# --- HTTP ------------------------------------------------------------------------------------------------------------


def unverified_tls() -> ssl.SSLContext:
    """For loopback only, where the certificate is the engine's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def fetch(call: Call, tls: Optional[ssl.SSLContext] = None) -> tuple[int, bytes]:
    """Status and body. Follows no redirect and uses no proxy: credentials go to the URL's host and nowhere else.

    Raises OSError, http.client.HTTPException (also for a body that is cut off or too large) or ValueError.
    """
    parts = urlsplit(call.url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        tls = tls or ssl.create_default_context()
        connection = http.client.HTTPSConnection(parts.netloc, timeout=HTTP_TIMEOUT_S, context=tls)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=HTTP_TIMEOUT_S)
    target = parts._replace(scheme="", netloc="").geturl() or "/"
    with contextlib.closing(connection):
        connection.request(call.method, target, body=call.body.encode() or None, headers=dict(call.headers))
        response = connection.getresponse()
        body = response.read(LARGEST_BODY)
        if response.length:
            raise http.client.IncompleteRead(body, response.length)
        return response.status, body


SAMPLE = re.compile(r"(vllm:\w+)(?:\{.*\})?\s+(\S+)")


def parse_metrics(text: str, at_s: float) -> Metrics:
    """From Prometheus' text format. Raises NotServing when it does not say how many requests run."""
    totals: dict[str, float] = {}
    for line in text.splitlines():
        sample = SAMPLE.match(line)
        if sample and not sample[1].endswith(("_created", "_bucket")):
            totals[sample[1]] = totals.get(sample[1], 0.0) + float(sample[2])
    finite = {name: value for name, value in totals.items() if math.isfinite(value)}
    if "vllm:num_requests_running" not in finite:
        raise NotServing("metrics without vllm:num_requests_running")
    return Metrics(at_s, finite)


class Prober(threading.Thread):
    """Asks the engine again and again; a thread, since an answer that never ends must not delay the deadline."""

    def __init__(self, base_url: str, key: str, tick_s: float) -> None:
        super().__init__(name="prober", daemon=True)
        self.ready = False
        self.metrics: Optional[Metrics] = None
        self.problem = ""
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {key}"}
        self._tls = unverified_tls()
        self._tick_s = tick_s

    def run(self) -> None:
        """Until the process ends."""
        while True:
            try:
                self._ask()
                self.problem = ""
            except Exception as error:  # noqa: BLE001 (whatever the engine answers, silence is what is judged)
                self.problem = describe_error(error)
            time.sleep(self._tick_s)

    def _ask(self) -> None:
        self._get("/health")
        if not self.ready:
            self._get("/v1/models")
            self.ready = True
        self.metrics = parse_metrics(self._get("/metrics").decode("utf-8", "replace"), uptime_s())

    def _get(self, path: str) -> bytes:
        status, body = fetch(Call("GET", self._base_url + path, self._headers), self._tls)
        if status != 200:
            raise NotServing(f"{path} answered {status}")
        return body


# --- the cards' memory -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Of all cards together."""

    used_gib: float
    total_gib: float


def parse_memory(text: str) -> Optional[Memory]:
    """From a line for each card, MiB used and in all; None where one of them does not tell, such as one in MIG mode."""
    try:
        cards = [(float(used), float(total)) for used, total in (line.split(",") for line in text.splitlines())]
    except ValueError:
        return None
    used_mib, total_mib = sum(used for used, _ in cards), sum(total for _, total in cards)
    return Memory(used_mib / 1024, total_mib / 1024) if cards else None


class MemoryReader(threading.Thread):
    """Asks `nvidia-smi` now and then; a thread, since that can hang with its driver. Ends where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(name="memory-reader", daemon=True)
        self.memory: Optional[Memory] = None
        visible = environ.get("CUDA_VISIBLE_DEVICES")
        of_these = [] if visible is None else [f"--id={visible}"]
        query = ["--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits"]
        self._command = ["nvidia-smi", *of_these, *query]

    def run(self) -> None:
        """Until the process ends."""
        while True:
            try:
                answer = subprocess.run(self._command, capture_output=True, timeout=HTTP_TIMEOUT_S)
                self.memory = parse_memory(answer.stdout.decode("utf-8", "replace"))
            except subprocess.TimeoutExpired:
                self.memory = None
            except OSError:
                return
            time.sleep(MEMORY_EVERY_S)


# --- destroying the resource -----------------------------------------------------------------------------------------


def fill(call: Call, environ: Mapping[str, str]) -> Call:
    """With the variables put in. Raises KeyError for one that is not set."""

    def value(text: str) -> str:
        return VARIABLE.sub(lambda name: environ[name[1]], text)

    headers = {name: value(text) for name, text in call.headers.items()}
    body = VARIABLE.sub(lambda name: json.dumps(environ[name[1]])[1:-1], call.body)
    return replace(call, url=value(call.url), headers=headers, body=body)


def why_powerless(destroy: Destroy, environ: Mapping[str, str]) -> str:
    """Why this process will never be able to destroy the resource; empty when it may."""
    missing = [name for name in destroy.variables() if not environ.get(name)]
    return f"{', '.join(missing)} not set in this container" if missing else ""


def try_to_destroy(destroy: Destroy, environ: Mapping[str, str]) -> str:
    """One attempt: what stands in the way, or empty text when the cloud says that the resource is gone."""
    problems = []
    for call in (destroy.call, destroy.check):
        try:
            status, body = fetch(fill(call, environ))
        except Exception as error:  # noqa: BLE001 (giving up would bill for ever; the next attempt may work)
            problems.append(f"{call.method}: {describe_error(error)}")
        else:
            if destroy.says_gone(status, body):
                return ""
            problems.append(f"{call.method} answered {status}")
    return ", ".join(problems)


def destroy_until_gone(
    attempt: Callable[[], str], *, sleep: Callable[[float], None], tell: Callable[[str], None]
) -> None:
    """Returns when an attempt has met no problem, or after `DESTROY_S` of sleep between attempts.

    A container that has exited shows its owner that something is wrong, costs no more than its disk where a cloud bills
    what runs (docs.vast.ai, billing), and goes on from here where a cloud starts it again.
    """
    backoff_s, slept_s = 1.0, 0.0
    while problem := attempt():
        if slept_s >= DESTROY_S:
            tell(f"not gone after {slept_s:g} s: {problem}; exiting all the same")
            return
        tell(f"not gone yet: {problem}; next try in {backoff_s:g} s")
        sleep(backoff_s)
        slept_s += backoff_s
        backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)


# --- the engine's processes ------------------------------------------------------------------------------------------


class Engine:
    """The engine and its descendants, which form one process group. Raises OSError when it cannot be started."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, start_new_session=True)
        self.pid = self._process.pid
        self.exit: Optional[int] = None

    def reap(self) -> None:
        """Takes note of the engine's exit, and buries orphans too: in a container this may be process 1."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.pid:
                    self.exit = self._process.returncode = os.waitstatus_to_exitcode(status)

    def signal(self, number: int) -> bool:
        """To the whole group; whether anything is left of it."""
        self.reap()
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # macOS says so of a group of zombies
            return True
        return True

    def stop(self, grace_s: float, *, hurry: Callable[[], bool]) -> bool:
        """Asks the engine, then whatever is left of it, then kills; whether all of it is gone.

        The engine is asked alone at first: it ends its workers itself, and vLLM reports a crash when they go before it.
        What even SIGKILL does not end is waited for briefly: the resource under it must be destroyed all the same.
        """
        asked_s = uptime_s()

        def impatient() -> bool:
            return uptime_s() - asked_s >= grace_s or hurry()

        self.reap()
        if self.exit is None:
            os.kill(self.pid, signal.SIGTERM)
        wait_until(lambda: not self.signal(0) or self.exit is not None or impatient())
        self.signal(signal.SIGTERM)
        wait_until(lambda: not self.signal(0) or impatient())
        self.signal(signal.SIGKILL)
        killed_s = uptime_s()
        wait_until(lambda: not self.signal(0) or uptime_s() - killed_s >= KILL_WAIT_S)
        return not self.signal(0)


def wait_until(done: Callable[[], bool]) -> None:
    """Looks often, so that an orderly end is a quick one; `done` must hold a deadline of its own."""
    while not done():
        time.sleep(POLL_S)


# --- the supervisor --------------------------------------------------------------------------------------------------


class Supervisor:
    """The loop around `decide`."""

    def __init__(self, config: Config, environ: Mapping[str, str], record: Record) -> None:
        self.config = config
        self.environ = environ
        self.powerless = why_powerless(config.destroy, environ) if config.destroy else ""
        self.destroy = None if self.powerless else config.destroy
        self.record = record
        self.before_s = record.elapsed_s
        self.started_s = record.uptime_s
        self.signals = 0
        self.engine: Optional[Engine] = None
        self.prober = Prober(config.base_url, environ["VLLM_API_KEY"], config.tick_s)
        self.memory_reader = MemoryReader(environ)
        self.track = Track(looked_s=self.started_s)
        self.phase = "loading"
        self.detail = ""
        self.ready_at: Optional[float] = None
        self.saved_s = -math.inf
        self.disk_failed = False

    def elapsed_s(self) -> float:
        """Since the very first start."""
        return self.before_s + max(0.0, uptime_s() - self.started_s)

    def run(self) -> int:
        """Until the end; the exit status."""
        self.catch_signals()
        limits = self.config.limits
        starting = f"start_deadline_s={limits.start_deadline_s:g}"
        say(f"armed idle_s={limits.idle_s:g} deadline_s={limits.deadline_s:g} {starting}")
        if self.powerless:
            say(f"cannot destroy this resource: {self.powerless}; at the end it stops the engine and exits")
        if self.record.ending:
            return self.finish(self.record.ending)
        try:
            end = self.supervise()
        except Exception as error:  # noqa: BLE001 (whatever broke in here, the machine must not bill on)
            traceback.print_tb(error.__traceback__)
            end = End(Reason.ENGINE_DIED, f"the supervisor failed: {describe_error(error)}")
        return self.finish(end)

    def catch_signals(self) -> None:
        """They wake the loop through a pipe. SIGHUP is ignored: with the terminal gone the limits must still hold."""
        self.wake_in, self.wake_out = os.pipe()
        os.set_blocking(self.wake_out, False)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.on_signal)

    def on_signal(self, *_: object) -> None:
        """Only counts: `decide` judges."""
        self.signals += 1
        with contextlib.suppress(BlockingIOError):
            os.write(self.wake_out, b"!")

    def supervise(self) -> End:
        """Starts the engine and watches it until there is a reason to end."""
        self.save()
        end = decide(self.config.limits, self.look())
        if end:
            return end
        try:
            self.engine = Engine(self.config.engine, self.engine_environ())
        except OSError as error:
            return End(Reason.ENGINE_DIED, f"cannot be started: {describe_error(error)}")
        self.prober.start()
        self.memory_reader.start()
        while True:
            end = decide(self.config.limits, self.look())
            if end:
                return end
            self.beat()
            if uptime_s() - self.saved_s >= PERSIST_S:
                self.save()
            select.select([self.wake_in], [], [], self.config.tick_s)

    def engine_environ(self) -> dict[str, str]:
        """What the engine may know: its key, and not the credential that destroys the resource."""
        kept_back = {"GPU_SUPERVISOR", *self.config.engine_env_without}
        environ = {name: value for name, value in self.environ.items() if name not in kept_back}
        return {**environ, "GPU_SUPERVISOR_STATUS": str(self.config.state_dir / "status.json")}

    def look(self) -> Seen:
        """Takes in what the prober and the kernel say."""
        if self.engine:
            self.engine.reap()
        self.track = advance(self.track, ready=self.prober.ready, metrics=self.prober.metrics, now_s=uptime_s())
        if self.track.ready_s is not None and self.ready_at is None:
            self.phase, self.ready_at = "serving", time.time()
            say(f"ready after {uptime_s() - self.started_s:.1f} s")
        return Seen(
            elapsed_s=self.elapsed_s(),
            loading_s=None if self.ready_at else uptime_s() - self.started_s,
            idle_s=self.track.idle_s(),
            silent_s=self.track.silent_s,
            stuck_s=self.track.stuck_s,
            working=bool(self.track.metrics and self.track.metrics.working()),
            engine_exit=self.engine.exit if self.engine else None,
            terminated=self.signals > 0,
        )

    def finish(self, end: End) -> int:
        """Ends the engine and then the resource."""
        resumed = self.record.ending is not None
        signals_known = 1 if end.reason is Reason.TERMINATED else 0
        self.phase, self.detail = "ending", end.detail
        self.record = replace(self.record, ending=end)
        self.save()
        self.beat()
        say(f"ending reason={end.reason.value} detail={end.detail}")
        grace_s = self.config.grace_s if self.ready_at else min(self.config.grace_s, LOADING_GRACE_S)
        if self.engine and not self.engine.stop(grace_s, hurry=lambda: self.signals > signals_known):
            say("processes of the engine are left that cannot be killed")
        if self.destroy and (resumed or end.reason is not Reason.TERMINATED):
            destroy_until_gone(partial(try_to_destroy, self.destroy, self.environ), sleep=self.sleep, tell=self.tell)
        self.phase, self.detail = "ended", end.detail
        self.save()
        self.beat()
        say(f"ended reason={end.reason.value} detail={end.detail}")
        return 0 if end.reason in ORDERLY else 1

    def sleep(self, seconds: float) -> None:
        """With the status kept fresh: a long wait must not look like a dead supervisor."""
        until_s = uptime_s() + seconds
        while (left_s := until_s - uptime_s()) > 0:
            self.beat()
            time.sleep(min(left_s, self.config.tick_s))

    def tell(self, text: str) -> None:
        """In the log and in the status."""
        self.detail = text
        say(text)

    def save(self) -> None:
        """The record, now."""
        self.saved_s = uptime_s()
        self.record = replace(
            self.record, elapsed_s=self.elapsed_s(), boot_id=boot_id(), uptime_s=self.saved_s, wall_s=time.time()
        )
        self.write("supervisor.json", self.record.to_json(), durable=True)

    def beat(self) -> None:
        """The status, now."""
        self.write("status.json", self.status(), durable=False)

    def write(self, name: str, document: Mapping[str, object], *, durable: bool) -> None:
        """A full disk is told once and stops nothing."""
        try:
            write_json(self.config.state_dir / name, document, durable=durable)
        except OSError as error:
            if not self.disk_failed:
                say(f"cannot write to {self.config.state_dir}: {describe_error(error)}; going on without")
            self.disk_failed = True

    def status(self) -> dict[str, object]:
        """For people and for the user's side: durations in seconds, `_at` in seconds since 1970 UTC."""
        metrics, ending, limits = self.track.metrics, self.record.ending, self.config.limits
        memory = self.memory_reader.memory
        return {
            "version": 1,
            "name": self.config.name,
            "phase": self.phase,
            "can_destroy": self.destroy is not None,
            "supervisor_pid": os.getpid(),
            "engine_pid": self.engine.pid if self.engine else None,
            "idle_s": limits.idle_s,
            "deadline_s": limits.deadline_s,
            "start_deadline_s": limits.start_deadline_s,
            "elapsed_s": self.elapsed_s(),
            "idle_for_s": self.track.idle_s() if self.ready_at else None,
            "requests_running": metrics.running if metrics else None,
            "requests_waiting": metrics.waiting if metrics else None,
            "requests_finished": metrics.finished if metrics else None,
            "metrics_age_s": uptime_s() - metrics.at_s if metrics else None,
            "gpu_memory_used_gib": memory.used_gib if memory else None,
            "gpu_memory_total_gib": memory.total_gib if memory else None,
            "reason": ending.reason.value if ending else None,
            "detail": self.detail or self.prober.problem,
            "engine_exit": self.engine.exit if self.engine else None,
            "started_at": self.record.started_at,
            "ready_at": self.ready_at,
            "beat_at": time.time(),
        }


def main(environ: Mapping[str, str]) -> int:
    """The exit status."""
    try:
        if not environ.get("VLLM_API_KEY"):
            raise BadConfig("VLLM_API_KEY is not set")
        config = parse_config(environ.get("GPU_SUPERVISOR", ""))
    except BadConfig as error:
        print(f"[supervisor] {error}", file=sys.stderr)
        return 2
    record = load_record(config.state_dir / "supervisor.json", config.name, config.launched_at)
    return Supervisor(config, environ, record).run()


if __name__ == "__main__":
    sys.exit(main(os.environ))
