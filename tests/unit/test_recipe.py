"""What a recipe may say, and what is said about one that cannot be used."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.exits import Exit
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.recipe.schema import DEFAULT_ENGINE_VERSION, Recipe, slug
from gpu_cli.weights.source import Scheme, Source
from gpu_cli.yaml_file import BadFile, Problem
from gpu_providers.base import Kind

FILE = Path("/somewhere/my.yaml")


def parse(text: str, **options: object) -> Recipe:
    return parse_recipe(text, FILE, shown="my.yaml", **options)  # type: ignore[arg-type]  # options of the tests below


def problems(text: str, **options: object) -> tuple[Problem, ...]:
    with pytest.raises(BadFile) as caught:
        parse(text, **options)
    assert (caught.value.exit_status, caught.value.code) == (Exit.BAD_INPUT, "bad-recipe")
    return caught.value.problems


def only_problem(text: str, **options: object) -> str:
    (problem,) = problems(text, **options)
    return str(problem)


def test_a_model_is_enough() -> None:
    recipe = parse("model: ORG/MODEL\n")
    model = Source(Scheme.HUGGING_FACE, "ORG/MODEL")
    assert (recipe.name, recipe.served_name, recipe.path) == ("my", "my", FILE)
    assert (recipe.model, recipe.weights) == (model, (model,))
    assert (recipe.engine.name, recipe.engine.version) == ("vllm", DEFAULT_ENGINE_VERSION)
    assert (recipe.context, recipe.limits.idle_s, recipe.gpu.cpu) == (None, None, False)


def test_everything_that_can_be_said_is_read() -> None:
    recipe = parse("""\
name: other
description: "Several: words"
model: ORG/MODEL
revision: 1234e56
weights: [s3://bucket/copy, pypi://dist==1.0]
quantization: fp8
context: 4096
concurrency: 2
served_name: it
tool_call_parser: hermes
reasoning_parser: qwen3
chat_template: ./chat.jinja
engine: {name: vllm, version: "0.31.1", args: ["--enforce-eager", "--seed=1"], env: {A_B: "1"}}
gpu: {names: [H100, A100], count: 2, min_memory_gib: 80, cpu: true}
kind: serverless
providers: {local: {port: 8000}, vast: null}
cache: {runpod: weights, vast: null}
limits: {idle: 15m, ttl: 24h, budget_usd: 5, max_price_usd_per_hour: 2.5, start_deadline: 90, boot_deadline: 5m}
""")
    assert (recipe.name, recipe.served_name, recipe.revision) == ("other", "it", "1234e56")
    assert [str(source) for source in recipe.weights] == ["s3://bucket/copy", "pypi://dist==1.0"]
    assert (recipe.quantization, recipe.context, recipe.concurrency) == ("fp8", 4096, 2)
    assert (recipe.tool_call_parser, recipe.reasoning_parser) == ("hermes", "qwen3")
    assert recipe.engine.args == ("--enforce-eager", "--seed=1")
    assert recipe.engine.env == {"A_B": "1"}
    assert (recipe.gpu.names, recipe.gpu.count, recipe.gpu.min_memory_gib) == (("H100", "A100"), 2, 80.0)
    assert recipe.providers == {"local": {"port": 8000}, "vast": {}}
    assert (recipe.kind, recipe.cache) == (Kind.SERVERLESS, {"runpod": "weights"})
    limits = recipe.limits
    assert (limits.idle_s, limits.ttl_s, limits.start_deadline_s, limits.boot_deadline_s) == (900, 86400, 90, 300)
    assert (limits.budget_usd, limits.max_price_usd_per_hour) == (5, 2.5)


def test_paths_are_seen_from_the_folder_of_the_recipe() -> None:
    recipe = parse("model: ../weights\nchat_template: ./chat.jinja\n")
    assert (str(recipe.model), recipe.chat_template) == ("/weights", "/somewhere/chat.jinja")


def test_a_chat_template_may_be_the_template_itself() -> None:
    assert parse('model: A/B\nchat_template: "{{ messages }}"\n').chat_template == "{{ messages }}"


def test_a_key_without_a_value_is_not_there() -> None:
    assert (
        parse("name:\nmodel: A/B\nengine:\n  version:\n  args:\ngpu:\nlimits:\n").digest()
        == parse("model: A/B").digest()
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("context: 1\n", "my.yaml:1: model: is missing"),
        ("\nmodel: A/B\nmodle: A/B\n", "my.yaml:3: modle: unknown key; did you mean model?"),
        ("model: A/B\nengine:\n  vesion: 1\n", "my.yaml:3: engine.vesion: unknown key; did you mean version?"),
        ("model: A/B\nidle: 5m\n", "my.yaml:2: idle: unknown key; did you mean limits.idle?"),
        ("model: A/B\nlimits: {cpu: true}\n", "my.yaml:2: limits.cpu: unknown key; did you mean gpu.cpu?"),
        ("model: A/B\ngpu: {contxt: 1}\n", "my.yaml:2: gpu.contxt: unknown key; context stands outside of gpu"),
        ("model: A/B\nqqqqqqq: 1\n", "my.yaml:2: qqqqqqq: unknown key"),
        ("model: A/B\npath: /etc\n", "my.yaml:2: path: unknown key"),
        (
            "model: A/B\nengine:\n  version: 0.320\n",
            'my.yaml:3: engine.version: must be text; put it in quotes: "0.320"',
        ),
        ("model: A/B\nengine: {env: {X: 1}}\n", 'my.yaml:2: engine.env.X: must be text; put it in quotes: "1"'),
        ("model: A/B\nengine: {name: sglang}\n", "my.yaml:2: engine.name: must be 'vllm'"),
        ("model: A/B\nengine: 5\n", "my.yaml:2: engine: must be a mapping of keys to values"),
        ("model: A/B\ncontext: 8k\n", "my.yaml:2: context: must be a whole number"),
        ("model: A/B\ncontext: 010\n", "my.yaml:2: context: must be a whole number"),
        ("model: A/B\ncontext: 0\n", "my.yaml:2: context: must be above 0"),
        ("model: A/B\ncontext: 10000000000\n", "my.yaml:2: context: must be at most 1,000,000,000"),
        ("model: A/B\nconcurrency: 1000001\n", "my.yaml:2: concurrency: must be at most 1,000,000"),
        ("model: A/B\nconcurrency: true\n", "my.yaml:2: concurrency: must be a whole number"),
        ("model: A/B\ngpu:\n  cpu: no\n", "my.yaml:3: gpu.cpu: must be true or false"),
        ("model: A/B\ngpu: {names: H100}\n", "my.yaml:2: gpu.names: must be a list, such as [one, two]"),
        ("model: A/B\ngpu: {min_memory_gib: 80GB}\n", "my.yaml:2: gpu.min_memory_gib: must be a number"),
        ("model: A/B\nweights: []\n", "my.yaml:2: weights: must not be an empty list"),
        ("model: A/B\nrevision: ''\n", "my.yaml:2: revision: must not be empty"),
        ("model: s3://a/b\nrevision: x\n", "my.yaml:2: revision: is for a model on a hub, and s3://a/b is not on one"),
        ("model: A/B\nserved_name: --api-key=x\n", "my.yaml:2: served_name: must not begin with `-`"),
        ("model: A/B\nproviders: {local: false}\n", "my.yaml:2: providers.local: must be a mapping of keys to values"),
        ("model: A/B\nkind: pods\n", "my.yaml:2: kind: must be one of pod, vm, serverless, process"),
        ("model: A/B\nkind: [pod]\n", "my.yaml:2: kind: must be one of pod, vm, serverless, process"),
        ("model: A/B\nregions: eu\n", "my.yaml:2: regions: must be a list, such as [one, two]"),
        ("model: A/B\nprivacy: some\n", "my.yaml:2: privacy: must be one of any, no-training, no-retention, dedicated"),
        ("model: A/B\ncache: mine\n", "my.yaml:2: cache: must be a mapping of keys to values"),
        ("model: A/B\ncache:\n  runpod: 7\n", 'my.yaml:3: cache.runpod: must be text; put it in quotes: "7"'),
        ("model: A/B\ncache: {runpod: ''}\n", "my.yaml:2: cache.runpod: must not be empty"),
        ("model: 7\n", "my.yaml:1: model: must be text, such as ORG/MODEL"),
        ("model: A/B\nproviders: {local: 8000}\n", "my.yaml:2: providers.local: must be a mapping of keys to values"),
        (
            "model: A/B\nproviders: {local: {a: {b: 1}}}\n",
            "my.yaml:2: providers.local.a: must be one value or a list of values",
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_field(text: str, expected: str) -> None:
    assert only_problem(text) == expected


def test_a_bad_source_is_named_by_its_own_line() -> None:
    text = "model: A/B\nweights:\n  - A/B\n  - pypi://x\n"
    assert only_problem(text).startswith("my.yaml:4: weights[1]: 'pypi://x' must name one release")


@pytest.mark.parametrize("idle", ["1:30", "on", "soon", "-5", "0", "[1m]"])
def test_a_duration_that_yaml_could_twist_is_refused(idle: str) -> None:
    assert only_problem(f"model: A/B\nlimits:\n  idle: {idle}\n").startswith("my.yaml:3: limits.idle: ")


def test_everything_that_is_wrong_is_said_at_once_in_the_order_of_the_file() -> None:
    text = "contxt: 1\nengine:\n  args: [--port=1]\n  env: {HF_TOKEN: x}\ngpu: {count: 0}\n"
    assert [(problem.line, problem.field) for problem in problems(text)] == [
        (1, "model"),
        (1, "contxt"),
        (3, "engine.args[0]"),
        (4, "engine.env.HF_TOKEN"),
        (5, "gpu.count"),
    ]


def test_the_message_of_many_problems_stays_one_line_and_counts_the_rest() -> None:
    with pytest.raises(BadFile) as caught:
        parse("".join(f"zzz{number}: 1\n" for number in range(9)))
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith("; and 5 more")
    assert len(caught.value.problems) == 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "my.yaml: is empty; a recipe has at least a `model`"),
        ("# only words\n", "my.yaml: is empty; a recipe has at least a `model`"),
        ("- model\n", "my.yaml:1: must be a mapping of keys to values, such as `model: ORG/MODEL`"),
        ("model: A/B\nmodel: C/D\n", "my.yaml:2: model: is there twice; first in line 1"),
        ("model: A/B\nengine:\n\tname: vllm\n", "my.yaml:3: a tab; YAML is indented with spaces"),
        ("description: a: b\n", "my.yaml:1: a second `: ` in the line; put text that holds one in quotes"),
        ("model: A/B\n? [a]\n: 1\n", "my.yaml:2: a key must be plain text in one line"),
        ("model: !!python/name:os.system\n", "my.yaml:1: model: the tag tag:yaml.org,2002:python/name:os.system"),
        ("model: A/B\ndescription: \x00\n", "my.yaml:2: holds a character that YAML forbids"),
        ("a: 1\n---\nb: 2\n", "my.yaml:2: not valid YAML: but found another document"),
        ("weights: &a [*a]\n", "my.yaml: is nested too deeply"),
        ("[" * 5000, "my.yaml: is nested too deeply"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_with_its_line(text: str, expected: str) -> None:
    assert only_problem(text).startswith(expected)


def test_aliases_work_and_cannot_blow_up() -> None:
    assert parse("model: &m A/B\nweights: [*m]\n").weights[0].location == "A/B"
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    assert "more than 10000 values" in only_problem(bomb)


@pytest.mark.parametrize(
    ("arg", "instead"),
    [
        ("--max-model-len=4096", "use `context`"),
        ("--max_num_seqs", "use `concurrency`"),
        ("--quantization", "use `quantization`"),
        ("-q", "use `quantization`"),
        ("-qfp8", "use `quantization`"),
        ("--model", "use `model`"),
        ("--revision=x", "use `revision`"),
        ("--served-model-name", "use `served_name`"),
        ("--tool-call-parser", "use `tool_call_parser`"),
        ("--reasoning_parser=x", "use `reasoning_parser`"),
        ("--chat-template", "use `chat_template`"),
        ("--hf-token=x", "use HF_TOKEN in the environment"),
        ("--api-key", "gpu sets it itself"),
        ("--api-k=x", "gpu sets it itself"),
        ("--middleware", "gpu sets it itself"),
        ("--host", "gpu sets it itself"),
        ("--port=1", "gpu sets it itself"),
        ("--uds", "gpu sets it itself"),
        ("--ssl-keyfile", "gpu sets it itself"),
        ("--ssl-certfile", "gpu sets it itself"),
    ],
)
def test_engine_arguments_that_gpu_sets_are_refused_with_what_to_use(arg: str, instead: str) -> None:
    problem = only_problem(f"model: A/B\nengine:\n  args:\n    - --enforce-eager\n    - {arg}\n")
    assert problem.startswith("my.yaml:5: engine.args[1]: ")
    assert instead in problem


@pytest.mark.parametrize(
    "arg",
    [
        "--reasoning-parser-plugin",
        "--chat-template-content-format=string",
        "--model-impl",
        "-tp",
        "--swap-space",
        "a b",
    ],
)
def test_other_engine_arguments_pass_as_they_are(arg: str) -> None:
    assert parse(f"model: A/B\nengine: {{args: [--x, '{arg}']}}\n").engine.args == ("--x", arg)


def test_two_arguments_in_one_are_refused() -> None:
    assert "is two arguments in one" in only_problem("model: A/B\nengine: {args: ['--seed 1']}\n")


@pytest.mark.parametrize("name", ["HF_TOKEN", "OPENAI_API_KEY", "aws_secret", "PGPASSWORD", "TOKEN"])
def test_secrets_do_not_belong_in_a_recipe(name: str) -> None:
    problem = only_problem(f"model: A/B\nengine: {{env: {{{name}: hush}}}}\n")
    assert problem.startswith(f"my.yaml:2: engine.env.{name}: looks like a secret")
    assert "hush" not in problem


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "VLLM_CPU_KVCACHE_SPACE", "MONKEY"])
def test_other_variables_pass(name: str) -> None:
    assert parse(f"model: A/B\nengine: {{env: {{{name}: '1'}}}}\n").engine.env == {name: "1"}


@pytest.mark.parametrize("name", ["PYTHONPATH", "A-B", "''"])
def test_variables_that_cannot_be_set_are_refused(name: str) -> None:
    assert "engine.env" in only_problem(f"model: A/B\nengine: {{env: {{{name}: '1'}}}}\n")


def test_unknown_providers_are_named_when_the_known_ones_are_given() -> None:
    text = "model: A/B\nproviders:\n  lokal: {port: 1}\n"
    assert parse(text).providers == {"lokal": {"port": 1}}
    expected = "my.yaml:3: providers.lokal: unknown provider; did you mean local?"
    assert only_problem(text, known_providers=["local", "vast"]) == expected
    expected = "my.yaml:2: cache.runpots: unknown provider; did you mean runpod?"
    assert only_problem("model: A/B\ncache: {runpots: x}\n", known_providers=["local", "runpod"]) == expected


def test_the_digest_ignores_words_and_order_and_sees_everything_else() -> None:
    digest = parse("model: A/B\ncontext: 10\nlimits: {idle: 60s}\nserved_name: x").digest()
    assert parse(
        "# c\nname: y\ndescription: d\nserved_name: x\nlimits: {idle: 1m}\ncontext: 10\nmodel: A/B"
    ).digest() == (digest)
    for change in (
        "context: 11",
        "context: 10\nengine: {args: [--x]}",
        "context: 10\nproviders: {local: {port: 1}}",
        "context: 10\nkind: pod",
        "context: 10\ncache: {runpod: x}",
        "context: 10\nspot: true",
        "context: 10\nwhen_lost: replace",
        "context: 10\nregions: [eu]",
        "context: 10\nprivacy: dedicated",
    ):
        assert parse(f"model: A/B\n{change}\nlimits: {{idle: 60s}}\nserved_name: x").digest() != digest
    assert parse("model: A/B\nlimits: {boot_deadline: 1m}").digest() != parse("model: A/B").digest()


def test_what_runs_since_before_a_key_was_known_keeps_its_digest() -> None:
    for text in (
        "model: A/B\n",
        "model: A/B\nkind:\ncache:\nlimits: {boot_deadline: }\n",
        "model: A/B\ncache: {}\nspot: false\nwhen_lost: report\n",
        "model: A/B\nregions: []\nprivacy: any\n",
    ):
        assert parse_recipe(text, Path("/r.yaml"), shown="r.yaml").digest() == "2b49144fa7c7be47"


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError):
        parse("model: A/B").name = "other"  # type: ignore[misc]  # this is what must not work


@pytest.mark.parametrize("name", ["Upper", "-a", "a_b", "a/b", "a" * 64, "ä"])
def test_a_name_that_no_deployment_could_have_is_refused(name: str) -> None:
    assert only_problem(f"model: A/B\nname: {name}\n").startswith("my.yaml:2: name: ")


@given(st.text(max_size=80))
def test_a_slug_is_a_name_or_nothing(text: str) -> None:
    name = slug(text)
    assert not name or parse(f"model: A/B\nname: '{name}'").name == name


KEYS = st.sampled_from(
    ["model", "context", "engine", "version", "args", "limits", "idle", "gpu", "providers", "[key]", "x"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def problems_or_none(text: str) -> tuple[Problem, ...]:
    try:
        parse(text)
    except BadFile as error:
        return error.problems
    return ()


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_document_is_a_recipe_or_a_clear_error(document: dict[str, object]) -> None:
    text = yaml.safe_dump(document, allow_unicode=True)
    for problem in problems_or_none(text):
        assert 0 <= problem.line <= text.count("\n") + 1
        assert problem.text


@given(st.text(alphabet="abc:-[]{}&*!|>'\"#\t\n ,?%@`0.~<", max_size=60))
def test_any_text_is_a_recipe_or_a_clear_error(text: str) -> None:
    for problem in problems_or_none(text):
        assert str(problem).startswith("my.yaml")
        assert "\n" not in str(problem)


@given(st.integers(0, 20), st.sampled_from(["contxt: 1", "engine: {vesion: x}", "limits: {idle: no}"]))
def test_the_line_of_an_error_is_where_the_key_stands(blank_lines: int, bad: str) -> None:
    (problem,) = problems("model: A/B\n" + "# words\n" * blank_lines + bad)
    assert problem.line == blank_lines + 2
