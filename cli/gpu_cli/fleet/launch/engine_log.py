"""What vLLM's log tells: how far a start has come, and why it failed. Texts as of vLLM 0.32."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Milestone:
    """How far a start has come."""

    stage: str
    detail: str


@dataclass(frozen=True)
class Diagnosis:
    """Why the engine died, in one line, and what to do about it."""

    code: str
    message: str
    hint: str


_FETCHING = re.compile(r"^\[weights\] (?P<what>(?!failed: ).+)$")
_SHARDS = re.compile(r"checkpoint shards:\s+\d+% Completed \| (\d+)/(\d+)")
_MILESTONES = (
    ("Application startup complete", Milestone("healthy", "")),
    ("Capturing CUDA graph", Milestone("load", "capturing CUDA graphs")),
    ("KV cache size", Milestone("load", "warming up")),
    ("Loading weights took", Milestone("load", "profiling memory")),
    ("Starting to load model", Milestone("load", "reading weights")),
    ("Initializing a V1 LLM engine", Milestone("start", "starting the engine's workers")),
    ("Resolved architecture", Milestone("start", "model recognised")),
    ("[node] starting the engine", Milestone("start", "")),
)

_FEWER = "lower `context` or `concurrency` in the recipe, or use a GPU with more memory"
_CAUSES: tuple[tuple[str, str, str, str], ...] = (
    (
        r"^\[weights\] failed: gated: (?P<what>.+)",
        "gated",
        "no weights: {what}",
        "set HF_TOKEN to a token of an account that has accepted the model's licence (for s3://: AWS_ACCESS_KEY_ID)",
    ),
    (
        r"^\[weights\] failed: no-space: (?P<what>.+)",
        "no-space",
        "no weights: {what}",
        "ask for a larger disk in the provider's section of the recipe",
    ),
    (
        r"^\[weights\] failed: [\w-]+: (?P<what>.+)",
        "no-weights",
        "no weights: {what}",
        "see the reasons; a recipe's `weights` may name several places",
    ),
    (
        r"Insufficient space in /dev/shm .*?: (?P<wanted>\d+ MiB) required, (?P<free>\d+ MiB) free",
        "shared-memory",
        "its container has {free} of shared memory, and vLLM needs {wanted} for several GPUs",
        "use one larger GPU, or another provider",
    ),
    (
        r"model's max seq len \((?P<context>\d+)\).*?estimated maximum model length is (?P<most>\d+)",
        "context-too-long",
        "a context of {context} tokens does not fit into the KV cache; {most} would",
        "set `context: {most}` or less in the recipe, or use a GPU with more memory",
    ),
    (
        r"model's max seq len \((?P<context>\d+)\)",
        "context-too-long",
        "a context of {context} tokens does not fit into the KV cache",
        "lower `context` in the recipe, or use a GPU with more memory",
    ),
    (
        r"max_model_len \((?P<context>\d+)\) is greater than the derived max_model_len \(\D*(?P<most>\d+)",
        "context-too-long",
        "the model was made for {most} tokens of context, and the recipe asks for {context}",
        "set `context: {most}` or less in the recipe",
    ),
    (r"No available memory for the cache blocks", "out-of-memory", "no memory is left for the KV cache", _FEWER),
    (r"(CUDA|HIP) out of memory|OutOfMemoryError", "out-of-memory", "the GPU ran out of memory", _FEWER),
    (
        r"less than desired (?P<device>GPU|CPU) memory utilization",
        "out-of-memory",
        "other programs use too much of the {device} memory",
        "end them, or lower --gpu-memory-utilization in `engine: args`",
    ),
    (
        r"Available memory on node.*?is less than requested memory for kv \((?P<wanted>[\d.]+ GiB)\)",
        "out-of-memory",
        "the machine has less memory than the {wanted} that the KV cache is to have",
        "lower VLLM_CPU_KVCACHE_SPACE (GiB) in `engine: env`, or end other programs",
    ),
    (
        r"DefaultCPUAllocator: can't allocate memory|Cannot allocate memory|^MemoryError",
        "out-of-memory",
        "the machine ran out of memory",
        "lower VLLM_CPU_KVCACHE_SPACE (GiB) in `engine: env`, or `context` in the recipe",
    ),
    (
        r"GatedRepoError|is a gated repo|Access to model (?P<model>\S+) is restricted",
        "gated",
        "the model is gated, and its hub refused this account",
        "set HF_TOKEN to a token of an account that has accepted the model's licence",
    ),
    (
        r"Model architectures \[(?P<name>[^]]*)\] (?:are not supported|failed to be inspected)",
        "unknown-architecture",
        "this vLLM does not know the architecture {name}",
        "set a newer `engine: version` in the recipe",
    ),
    (
        r"model type [`'\"]?(?P<name>[\w.-]+)[`'\"]? but Transformers does not recognize this architecture",
        "unknown-architecture",
        "this vLLM does not know models of type {name}",
        "set a newer `engine: version` in the recipe",
    ),
    (r"[Aa]ddress already in use", "port-taken", "its port is taken by another program", "choose another port"),
    (r"No space left on device", "no-space", "its disk is full", "free some space, or ask for a larger disk"),
    (
        r"error: (?P<what>unrecognized arguments: .*|argument .*)",
        "bad-engine-args",
        "vLLM refused its arguments: {what}",
        "correct `engine: args` in the recipe",
    ),
    (
        r"invalid tool call parser: (?P<name>\S+)",
        "bad-engine-args",
        "this vLLM has no tool-call parser called {name}",
        "correct `tool_call_parser` in the recipe",
    ),
    (
        r"Reasoning parser '(?P<name>[^']*)' not found",
        "bad-engine-args",
        "this vLLM has no reasoning parser called {name}",
        "correct `reasoning_parser` in the recipe",
    ),
    (
        r"validation errors? for \w+\n(?P<field>\w+)\n +(?P<what>.+?) \[type=",
        "bad-engine-args",
        "vLLM refused {field}: {what}",
        "correct `engine: args` in the recipe",
    ),
    (
        r"validation errors? for \w+\n +Value error, (?P<what>.+?)(?: \[type=|$)",
        "bad-engine-args",
        "vLLM refused its configuration: {what}",
        "correct the recipe",
    ),
)
_ENDED_LINE = re.compile(r"\[supervisor\] ended reason=(?P<reason>\S+)(?: detail=(?P<detail>.*))?$")
_LAST_ERROR = re.compile(r"(?:^|\s)(?P<what>(?:\w+\.)*\w*(?:Error|Exception): .+)$")
_POINTS_ELSEWHERE = "root cause"
"""vLLM's outer processes end with errors that only say to look for the cause above."""
_LONGEST_MESSAGE = 300


def milestone(lines: Sequence[str]) -> Milestone:
    """The furthest point that the log shows."""
    for line in reversed(lines):
        if shards := _SHARDS.search(line):
            return Milestone("load", f"weights {shards[1]} of {shards[2]} files")
        if fetching := _FETCHING.search(line):
            return Milestone("weights", fetching["what"])
        for text, reached in _MILESTONES:
            if text in line:
                return reached
    return Milestone("start", "")


def last_words(lines: Sequence[str]) -> tuple[str, str]:
    """Why the supervisor says that it ended, and its detail; empty when it has not ended or could not say."""
    for line in reversed(lines):
        if said := _ENDED_LINE.search(line):
            return said["reason"], (said["detail"] or "").strip()
    return "", ""


def diagnose(lines: Sequence[str]) -> Diagnosis | None:
    """The cause of death, the most telling one first; None when the log names none."""
    # A place that had no weights is no cause of death: either another one had them, or the last line tells of all.
    text = "\n".join(line for line in lines if not _FETCHING.search(line))
    for pattern, code, message, hint in _CAUSES:
        if found := re.search(pattern, text, re.MULTILINE):
            said = {name: value or "" for name, value in found.groupdict().items()}
            return Diagnosis(code, message.format(**said)[:_LONGEST_MESSAGE], hint.format(**said))
    for line in reversed(lines):
        if (found := _LAST_ERROR.search(line)) and _POINTS_ELSEWHERE not in line:
            return Diagnosis("engine-error", found["what"][:_LONGEST_MESSAGE], "the log has the rest")
    return None
