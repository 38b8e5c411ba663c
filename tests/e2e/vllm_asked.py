"""Run by the real engine's Python: asks vLLM about engines and caches, as told as JSON on standard input.

Prints as many answers of each kind.
"""

import json
import sys

import vllm_kv_cache
import vllm_sizes

asked = json.load(sys.stdin)
answers = {
    "sizes": [vllm_sizes.answer(arguments) for arguments in asked["sizes"]],
    "kv_cache": [vllm_kv_cache.answer(case) for case in asked["kv_cache"]],
}
sys.stdout.write(json.dumps(answers) + "\n")
