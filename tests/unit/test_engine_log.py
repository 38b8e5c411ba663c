import pytest

from gpu_cli.fleet.launch.engine_log import Milestone, diagnose, last_words, milestone

START = [
    "INFO:     Started server",
    "(APIServer pid=1) INFO 11-21 11:25:38 [model.py:733] Resolved architecture: LlamaForCausalLM",
    "(EngineCore pid=2) INFO 11-21 11:25:46 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: x",
    "(Worker pid=3) INFO 11-21 11:25:55 [cpu_model_runner.py:68] Starting to load model /x...",
    "Loading safetensors checkpoint shards:  33% Completed | 1/3 [00:00<00:02,  1.00s/it]",
    "(Worker pid=3) INFO 11-21 11:25:56 [default_loader.py:501] Loading weights took 1.16 seconds",
    "(EngineCore pid=2) INFO 11-21 11:25:58 [kv_cache_utils.py:2327] CPU KV cache size: 46,592 tokens, Maximum",
    "INFO:     Application startup complete.",
]
REACHED = [
    Milestone("start", ""),
    Milestone("start", "model recognised"),
    Milestone("start", "starting the engine's workers"),
    Milestone("load", "reading weights"),
    Milestone("load", "weights 1 of 3 files"),
    Milestone("load", "profiling memory"),
    Milestone("load", "warming up"),
    Milestone("healthy", ""),
]


@pytest.mark.parametrize("lines", range(1, len(START) + 1))
def test_the_furthest_point_of_a_start_is_told(lines: int) -> None:
    assert milestone(START[:lines]) == REACHED[lines - 1]


def test_a_line_that_says_nothing_does_not_set_a_start_back() -> None:
    assert milestone([*START[:4], "WARNING: something else"]) == REACHED[3]
    assert milestone([]) == Milestone("start", "")


def test_a_healthy_start_has_no_cause_of_death() -> None:
    assert diagnose(START) is None


def test_the_most_telling_cause_wins_over_what_followed_from_it() -> None:
    lines = ["torch.OutOfMemoryError: CUDA out of memory.", "RuntimeError: Engine core initialization failed."]
    found = diagnose(lines)
    assert found
    assert found.code == "out-of-memory"


def test_an_error_that_is_not_known_is_quoted() -> None:
    found = diagnose(["Traceback (most recent call last):", "ValueError: the moon is in the wrong quarter", "bye"])
    assert found
    assert (found.code, found.message) == ("engine-error", "ValueError: the moon is in the wrong quarter")


def test_the_last_words_are_those_of_the_supervisor() -> None:
    lines = ["[supervisor] ended reason=idle detail=no work for 2 s", "[supervisor] ended reason=deadline", "late line"]
    assert last_words(lines) == ("deadline", "")
    assert last_words(lines[:1]) == ("idle", "no work for 2 s")
    assert last_words(["an engine that says: ended reason=idle"]) == ("", "")


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (
            "[weights] failed: gated: hf://o/m: access was refused (401)",
            "gated",
            "no weights: hf://o/m: access was refused (401)",
        ),
        ("[weights] failed: no-space: hf://o/m: no room", "no-space", "no weights: hf://o/m: no room"),
        ("[weights] failed: no-weights: /m: not found", "no-weights", "no weights: /m: not found"),
        (
            "RuntimeError: Insufficient space in /dev/shm for shared-memory allocation: 240 MiB required, 64 MiB free.",
            "shared-memory",
            "its container has 64 MiB of shared memory, and vLLM needs 240 MiB for several GPUs",
        ),
    ],
)
def test_what_a_node_died_of_is_told(line: str, code: str, message: str) -> None:
    found = diagnose(["[weights] hf://o/m: asking the hub", line, "[supervisor] ended reason=engine-died"])
    assert found
    assert (found.code, found.message) == (code, message)


def test_a_place_without_weights_is_no_cause_of_death() -> None:
    refused = "[weights] hf://o/m: access was refused (GatedRepoError: 403)"
    assert diagnose([refused, "[weights] modelscope://o/m: done", *START]) is None


def test_the_fetching_of_weights_is_a_stage_of_its_own() -> None:
    lines = ["[supervisor] armed", "[weights] hf://o/m: downloading 5 of 10 MB", "some library says something"]
    assert milestone(lines) == Milestone("weights", "hf://o/m: downloading 5 of 10 MB")
    assert milestone([*lines, *START[:3]]) == REACHED[2]
    assert milestone(["[weights] failed: gated: x"]) == Milestone("start", "")


def test_once_the_weights_are_there_the_engine_is_what_is_waited_for() -> None:
    lines = ["[weights] hf://A/B: downloading 1 of 2 MB", "[weights] hf://A/B: done", "[node] starting the engine"]
    assert [milestone(lines[: number + 1]).stage for number in range(3)] == ["weights", "weights", "start"]
