"""AIPerf, as far as it is driven here: its configuration, its environment and the files that it wants.

What it does not do: load a tokenizer of the model (the server counts the tokens), speak to anyone but the endpoint,
collect telemetry, write outside the folder that it is given.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_cli.bench.first_requests import LONGEST_ANSWER_TOKENS
from gpu_cli.bench.preparation import Preparation
from gpu_cli.bench.pressure import Endpoint, Pressure
from gpu_cli.fleet.reach.engine_client import USER_AGENT

RECORDS = "profile_export.jsonl"
"""A line for each request, as soon as it has ended; in the folder `out`."""

_KEY = "GPU_BENCH_KEY"
_KEPT_ENVIRON = (
    *("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"),
)
_GRACE_S = 24 * 3600
"""Ours is shorter: AIPerf drops requests without a word when its own is over."""
_LOOKS_PER_S = 500.0
"""For a free place: one is empty for a millisecond on average."""
_REQUESTS_PER_WORKER = 32
_TOKENIZER = "gpu/none"
_REVISION = "0" * 40


def command(python: Path, folder: Path) -> Sequence[str]:
    """To run it with what `write_files` has written."""
    return (str(python), "-m", "aiperf", "profile", "--config", str(folder / "config.yaml"))


def environ_of(endpoint: Endpoint, folder: Path, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Of the user's environment only what is needed; the key is in it, and nowhere else."""
    kept = {name: environ[name] for name in _KEPT_ENVIRON if name in environ}
    return {
        **kept,
        _KEY: endpoint.key.reveal(),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "AIPERF_HTTP_TRUST_ENV": str(endpoint.secure),
        "AIPERF_DATASET_MMAP_CACHE_ENABLED": "false",
        "AIPERF_RECORD_EXPORT_BATCH_SIZE": "1",
    }


def write_files(
    folder: Path, endpoint: Endpoint, plan: Preparation, pressures: Sequence[Pressure], streaming: bool
) -> None:
    """Its configuration, the prompts, and the tokenizer that it insists on, in an empty folder."""
    configuration = _configuration(folder, endpoint, plan, pressures, streaming)
    (folder / "config.yaml").write_text(json.dumps(configuration), encoding="utf-8")  # JSON is YAML
    with (folder / "prompts.jsonl").open("w", encoding="utf-8") as file:
        for prompt in plan.prompts:
            length = prompt.output_tokens or LONGEST_ANSWER_TOKENS
            file.write(json.dumps({"text": prompt.text, "output_length": length}) + "\n")
    _write_tokenizer(folder / "hf" / "hub" / f"models--{_TOKENIZER.replace('/', '--')}")


def _configuration(
    folder: Path, endpoint: Endpoint, plan: Preparation, pressures: Sequence[Pressure], streaming: bool
) -> Mapping[str, object]:
    benchmark = {
        "model": endpoint.model,
        "endpoint": {
            "urls": [endpoint.base_url.removesuffix("/v1")],
            "type": "chat" if plan.chat else "completions",
            "api_key": f"${{{_KEY}}}",
            "headers": {"User-Agent": USER_AGENT},
            "streaming": streaming,
            "use_server_token_count": True,
            "use_legacy_max_tokens": True,
            "extra": dict(plan.fields),
        },
        "tokenizer": {"name": _TOKENIZER},
        "dataset": {
            "type": "file",
            "format": "single_turn",
            "path": str(folder / "prompts.jsonl"),
            "sampling": "sequential",
        },
        "phases": [_phase(level, pressure, plan) for level, pressure in enumerate(pressures)],
        "artifacts": {"dir": str(folder / "out"), "summary": False, "records": ["jsonl"]},
        "gpu_telemetry": {"enabled": False},
        "server_metrics": {"enabled": False},
        "runtime": {"ui": "none", "workers": _workers(plan, pressures), "record_processors": 1},
        "logging": {"level": "WARNING"},
    }
    return {"schemaVersion": "2.0", "benchmark": benchmark}


def _workers(plan: Preparation, pressures: Sequence[Pressure]) -> int:
    at_once = max(pressure.concurrency or (pressure.rate_per_s or 0.0) * plan.alone_s for pressure in pressures)
    return max(1, min(os.cpu_count() or 1, round(at_once / _REQUESTS_PER_WORKER)))


def _phase(level: int, pressure: Pressure, plan: Preparation) -> Mapping[str, object]:
    """Concurrency is a rate that is never reached, with so many requests at once at most: what AIPerf calls concurrency
    looks for a free place all the time, on a whole core, which may be the engine's.

    The first requests begin one after the other: all at once, they would stay in step for long.
    """
    timing, concurrency = plan.timing, pressure.concurrency
    common = {"name": f"level_{level}", "kind": "profiling", "duration": timing.sending_s, "grace_period": _GRACE_S}
    if not concurrency:
        return {**common, "type": "poisson", "rate": pressure.rate_per_s}
    rate = max(_LOOKS_PER_S, 4 * concurrency / plan.alone_s)
    ramp = {"concurrency_ramp": min(timing.warm_up_s, plan.alone_s)} if concurrency > 1 else {}
    return {**common, "type": "constant", "rate": rate, "concurrency": concurrency, **ramp}


def _write_tokenizer(folder: Path) -> None:
    """AIPerf loads one also where the server counts; this one knows no word, and looks fetched from a hub before."""
    snapshot = folder / "snapshots" / _REVISION
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(_REVISION)
    model = {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}
    (snapshot / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    (snapshot / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
