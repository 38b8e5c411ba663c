"""The arithmetic of the KV cache against the real vLLM: whole engines of tiny models, and its own functions."""

import json
import os
import random
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gpu_cli.engine.environment import Engine
from gpu_cli.planner.engine.engine_settings import EngineSettings, EngineVersion, Layout
from gpu_cli.planner.engine.pipeline import stages
from gpu_cli.planner.kv.kv_cache import KvCache, kv_cache
from gpu_cli.planner.model.facts import (
    Attention,
    CompressedAttention,
    Indexer,
    LatentAttention,
    Layer,
    Mamba2,
    Mixer,
    ModelFacts,
)
from gpu_cli.planner.model.model_config import parse_config
from gpu_cli.planner.model.quantization import UNQUANTIZED

pytestmark = pytest.mark.engine

VERSION = EngineVersion(0, 32)
HERE = Path(__file__).parent
CASES = 400
ENGINE_ENVIRON = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}

MEMORY_BYTES, MAX_MODEL_LEN, BATCHED_TOKENS = 100_000_000, 4096, 1024
CPU_BLOCK_SIZE, CPU_LATENT_BLOCK_SIZE = 128, 16

COMMON = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "max_position_embeddings": 8192,
    "num_attention_heads": 8,
    "rms_norm_eps": 1e-6,
    "torch_dtype": "bfloat16",
    "vocab_size": 1024,
}
EXPERTS = {"moe_intermediate_size": 128, "num_experts_per_tok": 2}
PERIOD = ["sliding_attention"] * 5 + ["full_attention"]

FULL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "head_dim": 64,
    "num_hidden_layers": 6,
    "num_key_value_heads": 2,
}
WINDOWS_OF_OTHER_HEADS = {
    "architectures": ["Gemma4ForCausalLM"],
    "model_type": "gemma4_text",
    "attention_k_eq_v": True,
    "global_head_dim": 128,
    "head_dim": 64,
    "hidden_size_per_layer_input": 0,
    "layer_types": [*PERIOD, *PERIOD],
    "num_global_key_value_heads": 1,
    "num_hidden_layers": 12,
    "num_key_value_heads": 4,
    "num_kv_shared_layers": 0,
    "sliding_window": 512,
}
LATENT = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "first_k_dense_replace": 1,
    "kv_lora_rank": 512,
    "n_group": 1,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_hidden_layers": 5,
    "num_key_value_heads": 8,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "topk_group": 1,
    "topk_method": "greedy",
    "v_head_dim": 128,
    **EXPERTS,
}
DELTA_NET = {
    "architectures": ["Qwen3NextForCausalLM"],
    "model_type": "qwen3_next",
    "full_attention_interval": 4,
    "head_dim": 64,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 64,
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 8,
    "linear_value_head_dim": 64,
    "mamba_ssm_dtype": "float32",  # on a CPU it is that in any case
    "num_experts": 8,
    "num_hidden_layers": 8,
    "num_key_value_heads": 2,
    "shared_expert_intermediate_size": 128,
    **EXPERTS,
}
STATE_SPACE = {
    "architectures": ["NemotronHForCausalLM"],
    "model_type": "nemotron_h",
    "chunk_size": 128,
    "conv_kernel": 4,
    "expand": 4,
    "head_dim": 64,
    "hybrid_override_pattern": "M-M*-M-M",
    "mamba_head_dim": 64,
    "mamba_num_heads": 16,
    "mamba_ssm_cache_dtype": "float32",
    "n_groups": 4,
    "num_hidden_layers": 8,
    "num_key_value_heads": 2,
    "ssm_state_size": 64,
}
Mixtures = Sequence[tuple[tuple[ModelFacts, EngineSettings], KvCache, Sequence[int]]]

MODELS = (FULL, WINDOWS_OF_OTHER_HEADS, LATENT, DELTA_NET, STATE_SPACE)


@pytest.fixture(scope="module")
def mixtures() -> Mixtures:
    """Models of a few kinds of layers, how they are to be served, and the memory that their stages have."""
    chance = random.Random(32)
    models = [with_kernels_blocks(random_model(chance), random_settings(chance)) for _ in range(CASES)]
    caches = [kv_cache(facts, settings) for facts, settings in models]
    return [(model, cache, random_memory(cache, chance)) for model, cache in zip(models, caches, strict=True)]


@pytest.fixture(scope="module")
def answers(
    real_engine: Engine, mixtures: Mixtures, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, list[dict[str, object]]]:
    """What vLLM makes of each. It is asked once: to import it takes longer than most of the rest."""
    models = tmp_path_factory.mktemp("models")
    asked = {
        "sizes": [engine_arguments({**COMMON, **model}, models) for model in MODELS],
        "kv_cache": [case(*each) for each in mixtures],
    }
    ran = subprocess.run(
        [real_engine.python, HERE / "vllm_asked.py"],
        input=json.dumps(asked),
        env={**os.environ, **ENGINE_ENVIRON},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_an_engine_of_each_kind_gets_the_sizes_that_were_predicted(
    answers: Mapping[str, list[dict[str, object]]],
) -> None:
    assert answers["sizes"] == [predicted({**COMMON, **model}) for model in MODELS]


def engine_arguments(config: Mapping[str, object], folder: Path) -> dict[str, object]:
    model = folder / str(config["model_type"])
    model.mkdir()
    (model / "config.json").write_text(json.dumps(config))
    return {
        "model": str(model),
        "kv_cache_memory_bytes": MEMORY_BYTES,
        "max_model_len": MAX_MODEL_LEN,
        "max_num_batched_tokens": BATCHED_TOKENS,
    }


def predicted(config: Mapping[str, object]) -> dict[str, object]:
    facts = parse_config(config, model="tiny")
    latent = isinstance(facts.layers[0].mixer, LatentAttention)
    settings = EngineSettings(
        version=VERSION,
        max_model_len=MAX_MODEL_LEN,
        # On a CPU one batch is in flight at a time; on a GPU there are two.
        max_num_batched_tokens=BATCHED_TOKENS // 2,
        max_num_seqs=256,
        block_size=CPU_LATENT_BLOCK_SIZE if latent else CPU_BLOCK_SIZE,
        prefix_caching=True,
    )
    cache = kv_cache(facts, settings)
    return {
        "block_size": cache.block_size,
        "blocks": cache.blocks(MEMORY_BYTES),
        "tokens": cache.tokens(MEMORY_BYTES),
        "max_concurrency": cache.max_concurrency(MEMORY_BYTES),
    }


def test_any_mixture_of_layers_gets_the_blocks_that_vllm_gives_it(
    answers: Mapping[str, list[dict[str, object]]], mixtures: Mixtures
) -> None:
    wrong = {
        number: (ours, theirs)
        for number, ((_, cache, memory), theirs) in enumerate(zip(mixtures, answers["kv_cache"], strict=True))
        if (ours := told(cache, memory)) != without_reason(theirs)
    }
    assert not wrong
    assert {answer["starts"] for answer in answers["kv_cache"]} == {True, False}


def without_reason(answer: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in answer.items() if key != "why"}


def told(cache: KvCache, available: Sequence[int]) -> dict[str, object]:
    if not cache.starts(*available):
        return {"starts": False}
    return {
        "starts": True,
        "blocks": cache.blocks(*available),
        "tokens": cache.tokens(*available),
        "max_concurrency": cache.max_concurrency(*available),
        "block_sizes": [group.block_size for group in cache.groups],
        "bytes_to_start": [cache.bytes_to_start(stage) for stage in range(len(available))],
    }


def random_model(chance: random.Random) -> ModelFacts:
    """Of one to three kinds of layers, in a pattern or in no order."""
    if chance.random() < 0.15:
        return facts_of(compressed(chance))
    kinds = [chance.choice(KINDS)(chance) for _ in range(chance.choice((1, 2, 2, 2, 3)))]
    if any(isinstance(kind, LatentAttention) for kind in kinds):
        kinds = [kind for kind in kinds if isinstance(kind, LatentAttention)][:1]
    if any(isinstance(kind, Mamba2) for kind in kinds):
        kinds = [mamba2(chance), *[kind for kind in kinds if isinstance(kind, Attention)][:1]]
    mixers = [kind for kind in kinds for _ in range(chance.randint(3, 14))]
    if chance.random() < 0.5:
        chance.shuffle(mixers)
    return facts_of(mixers)


def facts_of(mixers: Iterable[Mixer]) -> ModelFacts:
    layers = tuple(Layer(mixer, None) for mixer in mixers)
    return ModelFacts("m", "M", 4096, 32000, False, layers, (), 0, 131072, "bfloat16", UNQUANTIZED)


def attention(chance: random.Random) -> Attention:
    head_dim = chance.choice((64, 80, 128, 192, 256, 512))
    reach = chance.choice((128, 512, 1000, 1024, 4096))
    window, chunk = chance.choice(((None, None), (reach, None), (reach, None), (None, reach)))
    return Attention(32, chance.choice((1, 2, 4, 8, 16)), head_dim, head_dim, window=window, chunk=chunk)


def latent(chance: random.Random) -> LatentAttention:
    return LatentAttention(64, 512, 128, 64, 128, indexer=chance.choice((None, Indexer(64, 128))))


def compressed(chance: random.Random) -> list[CompressedAttention]:
    """The layers of a model, some of which have latents of either length."""
    without, short, long = (CompressedAttention(64, 512, 64, 128, 1024, 1024, 8, ratio=ratio) for ratio in (0, 4, 128))
    short = replace(short, indexer=Indexer(64, 128), chosen=512)
    pattern = [short, long] * chance.randint(3, 25)
    layers = [*[chance.choice((without, long))] * chance.randint(0, 3), *pattern, *[without] * chance.randint(0, 9)]
    if chance.random() < 0.3:
        chance.shuffle(layers)
    return layers


def mamba2(chance: random.Random) -> Mamba2:
    return Mamba2(chance.choice((16, 64)), 64, chance.choice((64, 128)), 8, 4, state_bytes=4)


KINDS = (attention, attention, attention, latent, mamba2)


def random_settings(chance: random.Random) -> EngineSettings:
    return EngineSettings(
        version=VERSION,
        max_model_len=chance.choice((1000, 4096, 16384, 131072)),
        layout=Layout(tensor_parallel=chance.choice((1, 2, 4)), pipeline_parallel=chance.choice((1, 1, 2, 3))),
        gpu_memory_utilization=0.9,
        max_num_seqs=256,
        max_num_batched_tokens=chance.choice((512, 2048, 8192)),
        block_size=chance.choice((16, 16, 64, 128)),
        enforce_eager=True,  # what graphs ask of the cache is asked later
        prefix_caching=chance.random() < 0.5,
    )


def with_kernels_blocks(facts: ModelFacts, settings: EngineSettings) -> tuple[ModelFacts, EngineSettings]:
    """Compressed attention has kernels for blocks of one size only."""
    compressed = isinstance(facts.layers[0].mixer, CompressedAttention)
    return facts, replace(settings, block_size=256) if compressed else settings


def random_memory(cache: KvCache, chance: random.Random) -> list[int]:
    """Of each stage, about what it takes to start and then several times that."""
    times = chance.choice((0.9, 0.999, 1, 1, 2, 20))
    return [
        int(cache.bytes_to_start(stage) * times) + (chance.randint(0, 2**20) if times > 1 else 0)
        for stage in range(len(cache.block_bytes))
    ]


def case(model: tuple[ModelFacts, EngineSettings], cache: KvCache, available: Sequence[int]) -> dict[str, object]:
    facts, settings = model
    split = stages(len(facts.layers), settings.layout.pipeline_parallel)
    mixers = [layer.mixer for layer in facts.layers]
    return {
        "stages": [[(str(i), type(mixers[i]).__name__, asdict(mixers[i])) for i in indices] for indices in split],
        "available_bytes": list(available),
        "block_size": settings.block_size,
        "dcp": settings.layout.decode_context_parallel,
        "dtype": facts.dtype,
        "in_flight_tokens": cache.in_flight_tokens,
        "mamba_cache_mode": "align" if settings.prefix_caching else "none",
        "max_model_len": settings.max_model_len,
        "tp": settings.layout.tensor_parallel,
    }
