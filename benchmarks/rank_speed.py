"""How long a plan takes: 10,000 random offers of all cards, ranked for one model.

    python benchmarks/rank_speed.py [--json]

`cold` sizes the model on every card and number of cards that is offered; `warm` ranks again with what is known then;
`learnt` does that with expectations from 1,000 starts on these offers, which are averaged anew. Medians of several
runs, with the lowest and the highest, in milliseconds.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from gpu_cli.planner.configurations import Configurations
from gpu_cli.planner.engine.engine_settings import EngineVersion
from gpu_cli.planner.model.model_config import parse_config
from gpu_cli.planner.model.parameters import weight_parts
from gpu_cli.planner.offers.expectations import Expected, PastStart, learnt
from gpu_cli.planner.rank import rank
from gpu_cli.planner.sizing import Workload
from gpu_cli.recipe.schema import Recipe
from gpu_providers.base import Kind, Offer
from gpu_providers.gpus import GPUS

OFFERS = 10_000
STARTS = 1_000
HOSTS = 2_000
AT = datetime(2026, 1, 1, tzinfo=UTC)
RUNS = 7
LLAMA_70B_FP8 = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "dynamic": False},
                "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True},
            }
        },
    },
}
KINDS = {"runpod": Kind.POD, "vast": Kind.POD, "lambda": Kind.VM, "modal": Kind.SERVERLESS}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    arguments = parser.parse_args()
    offers = random_offers(random.Random(0))
    cold = [run_ms(offers, new_configurations()) for _ in range(RUNS)]
    known = new_configurations()
    run_ms(offers, known)
    past = random_starts(random.Random(1), offers)
    figures = {
        "cold": cold,
        "warm": [run_ms(offers, known) for _ in range(RUNS)],
        "learnt": [run_ms(offers, known, past) for _ in range(RUNS)],
    }
    if arguments.json:
        print(json.dumps({"version": 1, "offers": OFFERS, **{f"{name}_ms": times for name, times in figures.items()}}))
        return
    for name, times_ms in figures.items():
        print(f"{name}: {statistics.median(times_ms):.0f} ms ({min(times_ms):.0f} to {max(times_ms):.0f})")


def run_ms(offers: list[Offer], configurations: Configurations, past: Sequence[PastStart] = ()) -> float:
    """One plan."""
    began = time.perf_counter()
    plan = rank(RECIPE, offers, configurations, expectations=learnt(past, AT.timestamp()))
    took_ms = (time.perf_counter() - began) * 1000
    assert len(plan.candidates) + len(plan.rejected) == OFFERS
    return took_ms


def new_configurations() -> Configurations:
    """With nothing sized yet."""
    return Configurations(FACTS, PARTS, Workload(context=32768, concurrency=16), EngineVersion(0, 32), {})


def random_offers(chance: random.Random) -> list[Offer]:
    """Of all cards, clouds and usual numbers of cards, at prices that grow with the card's memory."""
    return [_random_offer(chance, number) for number in range(OFFERS)]


def _random_offer(chance: random.Random, number: int) -> Offer:
    gpu, count = chance.choice(list(GPUS.values())), chance.choice([1, 2, 4, 8])
    provider, kind = chance.choice(list(KINDS.items()))
    price = round(gpu.memory_gib / 40 * count * chance.uniform(0.5, 2), 4)
    parts, host = {"gpu": price}, f"m{number % HOSTS}"
    return Offer(provider, kind, str(number), gpu.name, count, gpu.memory_gib, "us", price, parts, AT, host=host)


def random_starts(chance: random.Random, offers: list[Offer]) -> list[PastStart]:
    """On some of these offers, within the last two months."""
    return [_random_start(chance, chance.choice(offers)) for _ in range(STARTS)]


def _random_start(chance: random.Random, offer: Offer) -> PastStart:
    place = (offer.provider, offer.kind, offer.gpu, offer.gpu_count, offer.region, offer.host)
    at, came_up = AT.timestamp() - chance.uniform(0, 60 * 86_400), chance.random() < 0.9
    return PastStart(*place, at, Expected(100, 200, 0.9), chance.uniform(50, 300), chance.uniform(100, 500), came_up)


RECIPE = Recipe.model_validate({"name": "llama", "model": "org/llama-70b-fp8"}, context=Path("/llama.yaml"))
FACTS = parse_config(LLAMA_70B_FP8, model="org/llama-70b-fp8")
PARTS = weight_parts(FACTS)

if __name__ == "__main__":
    main()
