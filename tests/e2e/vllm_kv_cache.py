"""Run by the real engine's Python: what vLLM itself makes of mixtures of layers, without a model.

Layers and settings are those of the planner's `facts.py`, as dictionaries.
"""

from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import patch

import torch
from vllm.model_executor.models import ModelRegistry
from vllm.platforms.interface import Platform
from vllm.v1.attention.backend import MultipleOf
from vllm.v1.core.kv_cache_utils import (
    _max_memory_usage_bytes_from_groups,
    _pool_bytes_per_block,
    get_kv_cache_capacity,
    get_kv_cache_configs,
)
from vllm.v1.kv_cache_interface import (
    ChunkedLocalAttentionSpec,
    FullAttentionSpec,
    MambaSpec,
    MLAAttentionSpec,
    SlidingWindowMLASpec,
    SlidingWindowSpec,
    SparseCacheRole,
)
from vllm.v1.kv_cache_layout import KVCacheLayout


def answer(case: dict) -> dict:
    config = config_of(case)
    align_blocks(config, case)
    stages = [dict(named for layer in stage for named in specs_of(*layer, config, case)) for stage in case["stages"]]
    try:
        made = get_kv_cache_configs(config, stages, case["available_bytes"])
    except ValueError as refusal:
        return {"starts": False, "why": str(refusal)}
    tokens, concurrency = get_kv_cache_capacity(config, made[0])
    return {
        "starts": True,
        "blocks": made[0].num_blocks,
        "tokens": tokens,
        "max_concurrency": concurrency,
        "block_sizes": [group.kv_cache_spec.block_size for group in made[0].kv_cache_groups],
        "bytes_to_start": [
            _max_memory_usage_bytes_from_groups(config, each.kv_cache_groups)
            + _pool_bytes_per_block(config, each.kv_cache_groups)
            for each in made
        ],
    }


def config_of(case: dict) -> SimpleNamespace:
    return SimpleNamespace(
        attention_config=SimpleNamespace(hisparse_config=None),
        cache_config=SimpleNamespace(
            block_size=case["block_size"],
            cache_dtype="auto",
            get_resolved_kv_cache_layout=lambda: layout_of(case),
            mamba_block_size=None,
            mamba_cache_mode=case["mamba_cache_mode"],
            mamba_page_size_padded=None,
            num_gpu_blocks_override=None,
            prefix_cache_retention_interval=None,
        ),
        max_in_flight_tokens=case["in_flight_tokens"],
        model_config=SimpleNamespace(
            architecture="",
            dtype=getattr(torch, case["dtype"]),
            max_model_len=case["max_model_len"],
            original_max_model_len=None,
            use_mla=False,
        ),
        num_prefill_lookahead_tokens=0,
        parallel_config=SimpleNamespace(decode_context_parallel_size=case["dcp"], tensor_parallel_size=case["tp"]),
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False),
        speculative_config=None,
    )


def layout_of(case: dict) -> KVCacheLayout:
    """What the kernels of its layers ask for."""
    compressed = any(kind == "CompressedAttention" for stage in case["stages"] for _, kind, _ in stage)
    return KVCacheLayout.BLHNC if compressed else KVCacheLayout.LBNHC


def align_blocks(config: SimpleNamespace, case: dict) -> None:
    """As the engine does for a model with states once it knows the attention kernels: here, of multiples of 16."""
    layers = [(kind, layer) for stage in case["stages"] for _, kind, layer in stage]
    states = [layer for kind, layer in layers if kind == "Mamba2"]
    attention = [layer for kind, layer in layers if kind == "Attention"]
    if not states or not attention:
        return
    config.model_config.get_num_kv_heads = lambda _: max(1, attention[0]["kv_heads"] // case["tp"])
    config.model_config.get_head_size = lambda: attention[0]["head_dim"]
    largest = max((state_spec(state, config, case) for state in states), key=lambda spec: spec.page_size_bytes)
    model = SimpleNamespace(
        get_mamba_state_shape_from_config=lambda _: largest.shapes,
        get_mamba_state_dtype_from_config=lambda _: largest.dtypes,
    )
    kernels = SimpleNamespace(
        get_supported_kernel_block_sizes=lambda: [MultipleOf(16)], customize_spec=lambda spec: spec
    )
    with (
        patch.object(ModelRegistry, "resolve_model_cls", lambda *_, **__: (model, None)),
        patch.object(Platform, "_find_non_ssm_backends", lambda *_: [kernels]),
        patch("vllm.config.vllm.set_current_vllm_config", lambda _: nullcontext()),
    ):
        Platform._align_hybrid_block_size(config, kernels)


def specs_of(name: str, kind: str, layer: dict, config: SimpleNamespace, case: dict) -> list[tuple[str, object]]:
    dtype, block_size = config.model_config.dtype, config.cache_config.block_size
    if kind == "Mamba2":
        return [(name, state_spec(layer, config, case))]
    if kind == "LatentAttention":
        return latent_specs(name, layer, dtype, block_size)
    if kind == "CompressedAttention":
        return compressed_specs(name, layer, block_size)
    size = {
        "block_size": block_size,
        "num_kv_heads": max(1, layer["kv_heads"] // case["tp"]),
        "head_size": layer["head_dim"],
        "head_size_v": layer["value_head_dim"],
        "dtype": dtype,
    }
    if layer["window"]:
        return [(name, SlidingWindowSpec(sliding_window=layer["window"], **size))]
    if layer["chunk"]:
        return [(name, ChunkedLocalAttentionSpec(attention_chunk_size=layer["chunk"], **size))]
    return [(name, FullAttentionSpec(**size))]


def latent_specs(name: str, layer: dict, dtype: torch.dtype, block_size: int) -> list[tuple[str, object]]:
    size = layer["kv_lora_rank"] + layer["qk_rope_head_dim"]
    indexer = layer["indexer"]
    common = {"block_size": block_size, "num_kv_heads": 1}
    latent = MLAAttentionSpec(head_size=size, dtype=dtype, is_index_group_leader=indexer is not None, **common)
    if not indexer:
        return [(name, latent)]
    key = indexer["head_dim"] + indexer["head_dim"] // 128 * 4
    keys = MLAAttentionSpec(head_size=key, dtype=torch.uint8, cache_role=SparseCacheRole.INDEXER, **common)
    return [(name, latent), (f"{name}.indexer", keys)]


def compressed_specs(name: str, layer: dict, block_size: int) -> list[tuple[str, object]]:
    """As the caches of `models/deepseek_v4` describe themselves, in their order, with latents in FP8."""
    ratio, size, indexer = layer["ratio"], layer["head_dim"], layer["indexer"]
    common = {"num_kv_heads": 1, "max_tp_shards": 1, "alignment": 576}
    packed = {"dtype": torch.uint8, "cache_dtype_str": "fp8_ds_mla", "model_version": "deepseek_v4", **common}
    latent = {"head_size": size, "state_content_bytes": 584, **packed}
    keys = {"head_size": 132, "dtype": torch.uint8, "tokens_per_state": ratio, "block_size": block_size, **common}

    def state(elements: int) -> SlidingWindowMLASpec:
        twice = 2 if ratio == 4 else 1
        block = {4: 4, 128: 8}[ratio]
        size = {"head_size": 2 * twice * elements, "dtype": torch.float32, "sliding_window": twice * ratio}
        return SlidingWindowMLASpec(block_size=block, **size, **common)

    found: list[tuple[str, object]] = []
    if indexer:
        found.append((f"{name}.indexer.k_cache", MLAAttentionSpec(**keys)))
        found.append((f"{name}.indexer.compressor.state_cache", state(indexer["head_dim"])))
    window = SlidingWindowMLASpec(block_size=64, sliding_window=layer["window"], **latent)
    found.append((f"{name}.swa_cache", window))
    if ratio:
        found.append((name, MLAAttentionSpec(block_size=block_size, tokens_per_state=ratio, **latent)))
        found.append((f"{name}.compressor.state_cache", state(size)))
    return found


def state_spec(layer: dict, config: SimpleNamespace, case: dict) -> MambaSpec:
    channels = layer["heads"] * layer["head_dim"] + 2 * layer["groups"] * layer["state_size"]
    return MambaSpec(
        block_size=case["max_model_len"],
        shapes=(
            (layer["conv_kernel"] - 1, channels // case["tp"]),
            (layer["heads"] // case["tp"], layer["head_dim"], layer["state_size"]),
        ),
        dtypes=(config.model_config.dtype, torch.float32),
        page_size_padded=config.cache_config.mamba_page_size_padded,
        mamba_cache_mode=case["mamba_cache_mode"],
        num_prefill_checkpoint_blocks=1,
    )
