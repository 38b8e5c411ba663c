"""The speed model obeys the physics it is made of, and says what people measure."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.planner.engine.engine_settings import EngineSettings, EngineVersion, Layout
from gpu_cli.planner.model.facts import (
    Attention,
    DenseMlp,
    Experts,
    GatedDeltaNet,
    LatentAttention,
    Layer,
    Mixer,
    ModelFacts,
)
from gpu_cli.planner.model.parameters import weight_parts
from gpu_cli.planner.model.quantization import Format, Method, Quantization
from gpu_cli.planner.performance.efficiency import efficiency
from gpu_cli.planner.performance.model_cost import Arithmetic, ModelCost, model_cost
from gpu_cli.planner.performance.roofline import kv_element_bytes, roofline
from gpu_cli.planner.sizing import Memory, Sizing, Verdict, Workload
from gpu_cli.planner.speed import Speed, speed, usd_per_million_tokens
from gpu_providers.gpus import GPUS

NONE = Quantization("none", None)
FP8 = Quantization("fp8", Format(Method.FP8, 8))
AWQ = Quantization("awq", Format(Method.AWQ, 4, group=128, group_bits=20))
NVFP4 = Quantization("nvfp4", Format(Method.NVFP4, 4, group=16, group_bits=8))

LLAMA_HEADS = {8: 32, 70: 64}


@cache
def llama(billions: int = 8, quantization: Quantization = NONE) -> ModelCost:
    """Llama 3.1 of that size."""
    hidden, layers, intermediate = {8: (4096, 32, 14336), 70: (8192, 80, 28672)}[billions]
    layer = Layer(Attention(LLAMA_HEADS[billions], 8, 128, 128), DenseMlp(intermediate))
    return cost_of(hidden, (layer,) * layers, quantization)


@cache
def mixture(active: int = 8, mixer: Mixer | None = None) -> ModelCost:
    """Qwen3 30B A3B, or another of its kind."""
    layer = Layer(mixer or Attention(32, 4, 128, 128), Experts(128, active, 768))
    return cost_of(2048, (layer,) * 48, NONE)


def cost_of(hidden: int, layers: tuple[Layer, ...], quantization: Quantization) -> ModelCost:
    facts = ModelFacts(
        model="a/model",
        architecture="LlamaForCausalLM",
        hidden_size=hidden,
        vocab_size=128256,
        tied_embeddings=False,
        layers=layers,
        mtp_layers=(),
        tower_parameters=0,
        max_context=131072,
        dtype="bfloat16",
        quantization=quantization,
    )
    return model_cost(facts, weight_parts(facts))


def sized(
    concurrency: int = 1,
    *,
    layout: Layout = Layout(),  # noqa: B008  # frozen
    holds: float = 1000,
    max_num_seqs: int = 1024,
    kv_cache_dtype: str = "auto",
    version: str = "0.32.0",
    enforce_eager: bool = False,
) -> Sizing:
    """What the planner found; only what speed depends on is meant seriously."""
    settings = EngineSettings(
        version=EngineVersion.parse(version),
        max_model_len=8192,
        layout=layout,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=8192,
        kv_cache_dtype=kv_cache_dtype,
        enforce_eager=enforce_eager,
    )
    memory = Memory(80, 72, 16, 2, 0, 1, True, 40)
    return Sizing(settings, Workload(8192, concurrency), memory, 131072, 0, holds, Verdict.FITS, (), None)


def on(gpu: str, cost: ModelCost, sizing: Sizing, prompt: int = 1000, answer: int = 500) -> Speed:
    return speed(cost, sizing, GPUS[gpu], prompt, answer)


def test_one_answer_is_as_fast_as_the_weights_can_be_read() -> None:
    """16.06 GB less the input embedding at 3350 GB/s are 223 tokens a second; host and gaps come on top."""
    gpu = GPUS["H100"]
    ideal = gpu.memory_bandwidth_gb_per_s / 15.01
    measured = on("H100", llama(), sized()).decode_tokens_per_s_single
    assert 0.8 * ideal * efficiency(gpu).memory < measured < ideal * efficiency(gpu).memory


def test_a_small_card_reads_an_8b_model_as_fast_as_people_see() -> None:
    """RTX 4090 and Llama 3.1 8B in 16 bits: 50 to 60 tokens a second."""
    assert 48 < on("RTX-4090", llama(), sized()).decode_tokens_per_s_single < 62


def test_more_requests_give_more_in_total_up_to_the_roof_of_arithmetic() -> None:
    totals = [on("H100", llama(), sized(n)).decode_tokens_per_s_total for n in (1, 4, 16, 64, 256, 1024)]
    assert totals == sorted(totals)
    flops_of_a_token = 2 * 7.5e9 * (1 + 1000 / 500)  # the answer's, and its share of the prompt
    assert totals[-1] < GPUS["H100"].half_tflops * 1e12 / flops_of_a_token
    assert totals[-1] > 20 * totals[0]


def test_requests_beyond_the_cache_or_the_limit_wait_and_add_nothing() -> None:
    held = on("H100", llama(), sized(500, holds=10))
    assert held == on("H100", llama(), sized(1000, holds=10))
    assert held.running_requests == pytest.approx(10 * 8192 / 1250)
    assert on("H100", llama(), sized(500, max_num_seqs=32)).running_requests == 32


def test_fp8_is_faster_than_16_bits_where_it_is_native_in_answers_and_in_prompts() -> None:
    plain, narrow = on("H100", llama(), sized(64)), on("H100", llama(quantization=FP8), sized(64))
    assert 1.4 < narrow.decode_tokens_per_s_single / plain.decode_tokens_per_s_single < 2
    assert 1.5 < narrow.prefill_tokens_per_s / plain.prefill_tokens_per_s < 2.1


def test_weight_only_quantization_saves_reading_and_no_arithmetic() -> None:
    plain, narrow = on("A100-80GB", llama(), sized(1)), on("A100-80GB", llama(quantization=AWQ), sized(1))
    assert narrow.decode_tokens_per_s_single > 2 * plain.decode_tokens_per_s_single
    assert narrow.prefill_tokens_per_s == pytest.approx(plain.prefill_tokens_per_s, rel=0.02)


def test_fp8_is_weight_only_on_ampere() -> None:
    plain, narrow = on("A100-80GB", llama(), sized(1)), on("A100-80GB", llama(quantization=FP8), sized(1))
    assert narrow.prefill_tokens_per_s == pytest.approx(plain.prefill_tokens_per_s, rel=0.02)
    assert narrow.decode_tokens_per_s_single > 1.5 * plain.decode_tokens_per_s_single


def test_four_bits_are_multiplied_as_such_only_on_blackwell() -> None:
    assert {each.arithmetic for each in llama(quantization=NVFP4).matrices} == {Arithmetic.FP4, Arithmetic.HALF}
    ratio = {
        gpu: on(gpu, llama(quantization=NVFP4), sized()).prefill_tokens_per_s
        / on(gpu, llama(), sized()).prefill_tokens_per_s
        for gpu in ("H100", "B200")
    }
    assert ratio["H100"] == pytest.approx(1, rel=0.02)
    assert ratio["B200"] > 2


def test_two_cards_are_faster_than_one_but_not_twice_as_fast() -> None:
    one, two = (on("H200", llama(70), sized(layout=Layout(tp))).decode_tokens_per_s_single for tp in (1, 2))
    assert 1.5 * one < two < 2 * one


def test_cards_without_a_fast_link_gain_less_from_each_other() -> None:
    """A 4090 moves everything through the machine's memory."""
    gain = {
        gpu: on(gpu, llama(), sized(64, layout=Layout(2))).decode_tokens_per_s_total
        / on(gpu, llama(), sized(64)).decode_tokens_per_s_total
        for gpu in ("H100", "RTX-4090")
    }
    assert gain["RTX-4090"] < gain["H100"]


def test_a_pipeline_helps_many_requests_and_no_single_one() -> None:
    one, two = on("H100", llama(), sized(256)), on("H100", llama(), sized(256, layout=Layout(1, 2)))
    assert two.decode_tokens_per_s_single <= one.decode_tokens_per_s_single
    assert two.decode_tokens_per_s_total > 1.2 * one.decode_tokens_per_s_total


def test_a_mixture_reads_only_the_experts_that_its_tokens_touch() -> None:
    """One token touches 8 of 128; a thousand touch all."""
    line = roofline(mixture(), sized().settings, GPUS["H100"])
    (experts,) = (product for product in line.products if product.experts)
    assert experts.seconds(1, 1) == pytest.approx(experts.read_s * 8 / 128)
    assert experts.seconds(16, 16) == pytest.approx(experts.read_s * (1 - (120 / 128) ** 16))
    assert experts.seconds(300, 300) == pytest.approx(experts.read_s, rel=1e-3)


def test_a_mixture_is_faster_than_a_dense_model_of_its_size() -> None:
    sparse, dense = (on("H100", mixture(active), sized()).decode_tokens_per_s_single for active in (8, 128))
    assert sparse > 4 * dense


def test_an_fp8_cache_makes_long_contexts_faster() -> None:
    wide, narrow = (on("H100", llama(), sized(64, kv_cache_dtype=dtype), 7000, 500) for dtype in ("auto", "fp8"))
    assert narrow.decode_tokens_per_s_single > wide.decode_tokens_per_s_single
    assert kv_element_bytes("auto", "fp8") == 1  # the checkpoint fixes it
    assert kv_element_bytes("auto", "auto") == 2


def test_windows_and_states_make_the_length_of_the_context_matter_less() -> None:
    def slowdown(mixer: Mixer) -> float:
        times = [1 / on("H100", mixture(8, mixer), sized(), n).decode_tokens_per_s_single for n in (1000, 100_000)]
        return times[1] / times[0]

    state = slowdown(GatedDeltaNet(16, 32, 128, 128, 4))
    window = slowdown(Attention(32, 4, 128, 128, window=512))
    latent = slowdown(LatentAttention(32, 512, 128, 64, 128))
    full = slowdown(Attention(32, 32, 128, 128))
    assert state == pytest.approx(1)
    assert window == pytest.approx(1, rel=0.01)
    assert 1.01 < latent < full


def test_a_long_prompt_takes_longer_for_each_of_its_tokens() -> None:
    short, long = (on("H100", llama(), sized(), n) for n in (1000, 100_000))
    assert long.prefill_tokens_per_s < short.prefill_tokens_per_s
    assert long.time_to_first_token_s > 100 * short.time_to_first_token_s


def test_launching_kernels_one_by_one_slows_small_steps_down() -> None:
    graphs, eager = (on("H100", llama(), sized(enforce_eager=eager)) for eager in (False, True))
    assert eager.decode_tokens_per_s_single < 0.8 * graphs.decode_tokens_per_s_single


def test_newer_releases_spend_less_time_beside_the_gpu() -> None:
    speeds = [on("H100", llama(), sized(64, version=v)).decode_tokens_per_s_total for v in ("0.6.3", "0.10.1", "0.32")]
    assert speeds == sorted(speeds)


def test_a_token_costs_what_the_hour_costs_shared_by_all_its_tokens() -> None:
    assert usd_per_million_tokens(3.6, 1000) == pytest.approx(1.0)
    assert usd_per_million_tokens(7.2, 500) == pytest.approx(4.0)


def test_every_card_has_a_speed_and_an_expected_error() -> None:
    found = {name: on(name, llama(), sized(8)) for name in GPUS}
    assert {name for name, each in found.items() if not 5 < each.decode_tokens_per_s_single < 500} == set()
    assert found["H100"].expected_relative_error < found["B200"].expected_relative_error


@given(
    st.sampled_from(sorted(GPUS)),
    st.floats(1, 4),
    st.integers(1, 600),
    st.integers(1, 30_000),
    st.integers(1, 4000),
    st.sampled_from([1, 2, 8]),
)
def test_more_bandwidth_is_never_slower(
    name: str, factor: float, concurrency: int, prompt: int, answer: int, ranks: int
) -> None:
    gpu = GPUS[name]
    faster = replace(gpu, memory_bandwidth_gb_per_s=gpu.memory_bandwidth_gb_per_s * factor)
    sizing = sized(concurrency, layout=Layout(ranks))
    for cost in (llama(), mixture()):
        before, after = (speed(cost, sizing, card, prompt, answer) for card in (gpu, faster))
        assert after.decode_tokens_per_s_single >= before.decode_tokens_per_s_single
        assert after.decode_tokens_per_s_total >= before.decode_tokens_per_s_total
        assert after.prefill_tokens_per_s >= before.prefill_tokens_per_s
