"""Whatever the clouds answer: a documented error or a sound parse, and never a wrong word that something is gone."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answers import Exchange
from answers_cases import Case, outcome, play, shrunk
from answers_ends import wrongly_ended
from answers_recorded import EMULATORS, Recorded, recorded
from mutations import Answer, Body, Deep, Drop, Put, Status

from gpu_providers.errors import ProviderUnavailable

CASES = 2400
ENDS = 40


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Recorded]]:
    logging.disable()
    yield {cloud: recorded(cloud, tmp_path_factory.mktemp(cloud)) for cloud in EMULATORS}
    logging.disable(logging.NOTSET)


def told(case: Case, clouds: Mapping[str, Recorded]) -> str:
    played = outcome(case, clouds)
    return f"{played.what}: {played.problem}" if played.problem else played.what


@pytest.mark.parametrize("part", range(3))
def test_no_answer_of_any_cloud_ends_in_another_way_than_a_documented_one(
    clouds: Mapping[str, Recorded], part: int
) -> None:
    counts, bad = play(range(part * CASES // 3, (part + 1) * CASES // 3), clouds)
    assert not bad, f"{bad[0].problem}: {shrunk(bad[0].case, clouds)!r}"
    assert counts.total() == CASES // 3
    assert len({what for _, _, what in counts}) > 8, "the mutations reach next to nothing"


def test_what_is_not_spoiled_is_understood(clouds: Mapping[str, Recorded]) -> None:
    for cloud in clouds.values():
        for recording in cloud.recordings:
            played = told(Case(cloud.cloud, recording.call, 0, ()), clouds)
            expected = {"parsed", "NotFound"} if "nobody" in recording.call else {"parsed"}
            if (cloud.cloud, recording.call) == ("lambda", "logs"):
                expected = {"ProviderUnavailable"}  # no SSH server answers here
            assert played in expected, f"{cloud.cloud} {recording.call}"


@pytest.mark.parametrize("cloud", EMULATORS)
def test_no_teardown_ends_while_the_cloud_still_has_the_resource(
    clouds: Mapping[str, Recorded], cloud: str, tmp_path: Path
) -> None:
    for seed in range(ENDS):
        assert not (problem := wrongly_ended(clouds[cloud], seed, tmp_path / str(seed))), f"seed {seed}: {problem}"


# What was found once.

CLOUDS_LISTS = {"runpod": ("pods",), "vast": ("instances",), "lambda": ("data",)}


@pytest.mark.parametrize("cloud", EMULATORS)
def test_a_document_that_is_nested_too_deep_to_be_read_is_no_answer(clouds: Mapping[str, Recorded], cloud: str) -> None:
    assert told(Case(cloud, "describe", 0, (Deep("["),)), clouds) == "ProviderUnavailable"
    assert told(Case(cloud, "describe nobody", 0, (Deep('{"a":'),)), clouds) == "ProviderUnavailable"


@pytest.mark.parametrize("cloud", EMULATORS)
@pytest.mark.parametrize("call", ["find", "list"])
@pytest.mark.parametrize("row", [None, [], "text", 7])
def test_a_list_with_a_row_that_is_no_object_is_not_a_list_without_it(
    clouds: Mapping[str, Recorded], cloud: str, call: str, row: object
) -> None:
    recording = next(one for one in clouds[cloud].recordings if one.call == call)
    number = next(number for number, one in enumerate(recording.exchanges) if _has_rows(one, cloud))
    assert told(Case(cloud, call, number, (Put((*CLOUDS_LISTS[cloud], 0), row),)), clouds) == "ProviderUnavailable"


def _has_rows(exchange: Exchange, cloud: str) -> bool:
    said = exchange.answer.json()
    return exchange.path.endswith(("pods", "instances", "instances/")) and bool(said)


@pytest.mark.parametrize(
    ("cloud", "path", "value"),
    [
        ("vast", ("instances", 0, "extra_env"), 1),
        ("vast", ("instances", 0, "extra_env", 2, 0), 0),
        ("vast", ("instances", 0, "label"), None),
        ("vast", ("instances", 0, "extra_env"), ["damaged"]),
        ("lambda", ("data", 0, "name"), -1),
        ("lambda", ("data", 0, "name"), None),
        ("lambda", ("data", 0, "tags"), "none"),
        ("lambda", ("data", 0, "tags"), [1]),
        ("runpod", ("pods", 0, "env"), 1),
        ("runpod", ("pods", 0, "env", "GPU_RESOURCE"), None),
        ("runpod", ("pods", 0, "name"), False),
    ],
)
def test_what_is_ours_is_not_somebody_elses_because_its_marks_cannot_be_read(
    clouds: Mapping[str, Recorded], cloud: str, path: tuple[str | int, ...], value: object
) -> None:
    for call in ("find", "list"):
        recording = next(one for one in clouds[cloud].recordings if one.call == call)
        number = next(n for n, one in enumerate(recording.exchanges) if one.answer.json() and _holds(one.answer, path))
        assert told(Case(cloud, call, number, (Put(path, value),)), clouds) in ("ProviderUnavailable", "parsed")


def _holds(answer: Answer, path: tuple[str | int, ...]) -> bool:
    return isinstance(answer.json(), dict) and path[0] in answer.json()


@pytest.mark.parametrize("value", [-1, -0.5, "-1", float("nan"), float("inf"), 10**400, [1], None])
@pytest.mark.parametrize(
    ("cloud", "path"),
    [
        ("runpod", ("cost",)),
        ("vast", ("instances", "dph_total")),
        ("vast", ("instances", "storage_total_cost")),
        ("lambda", ("data", "instance_type", "price_cents_per_hour")),
    ],
)
def test_no_price_is_below_zero_or_no_number(
    clouds: Mapping[str, Recorded], cloud: str, path: tuple[str, ...], value: object
) -> None:
    assert told(Case(cloud, "describe", 0, (Put(path, value),)), clouds) == "parsed"


def test_an_answer_about_another_pod_is_none_about_this_one(clouds: Mapping[str, Recorded]) -> None:
    other = (Put(("id",), "another"), Put(("status",), "TERMINATED"))
    assert told(Case("runpod", "describe", 0, other), clouds) == "ProviderUnavailable"


def test_a_404_whose_document_tells_of_another_status_is_not_the_clouds_word_for_gone(
    clouds: Mapping[str, Recorded],
) -> None:
    for call in ("describe nobody", "terminate nobody"):
        assert told(Case("runpod", call, 0, (Put(("status",), 401),)), clouds) == "ProviderUnavailable"


def test_an_endpoints_address_that_is_none_is_replaced_by_the_usual_one(clouds: Mapping[str, Recorded]) -> None:
    for base in ("null", "http://[::1", "file:///etc/passwd", "http://"):
        assert (
            told(Case("runpod", "describe an endpoint", 0, (Put(("requestUrls", "base"), base),)), clouds) == "parsed"
        )


@pytest.mark.parametrize("cloud", EMULATORS)
def test_half_a_character_reaches_no_text_of_ours(clouds: Mapping[str, Recorded], cloud: str) -> None:
    path = {"runpod": ("status",), "vast": ("instances", "status_msg"), "lambda": ("data", "status")}[cloud]
    assert told(Case(cloud, "describe", 0, (Put(path, "\ud800"),)), clouds) == "parsed"


# It must be able to fail.


def some_problem(clouds: Mapping[str, Recorded], *cases: Case) -> str:
    return next((problem for case in cases if (problem := outcome(case, clouds).problem)), "")


def test_a_parser_that_lets_an_exception_through_is_found(
    clouds: Mapping[str, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_providers.runpod.pod_answers.moment", lambda value: value.upper())
    assert some_problem(clouds, Case("runpod", "describe", 0, (Put(("createdAt",), 5),)))
    assert play(range(700), clouds)[1]


def test_any_404_taken_for_gone_is_found(clouds: Mapping[str, Recorded], monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu_providers.runpod.refusals as refusals

    monkeypatch.setattr(refusals, "_problem", lambda _: {"title": "nobody said so"})
    assert "on nobody's word" in some_problem(clouds, Case("runpod", "describe", 0, (Status(404), Body(b"<html>"))))


def test_a_500_on_delete_taken_for_gone_is_found(
    clouds: Mapping[str, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgiving(client: Any, path: str) -> None:
        client._http.safely(client._request("DELETE", path))

    monkeypatch.setattr("gpu_providers.runpod.client.RunPodClient._delete", forgiving)
    assert "success on an answer of 500" in some_problem(clouds, Case("runpod", "terminate", 0, (Status(500),)))


def test_a_damaged_list_taken_for_a_whole_one_is_found(
    clouds: Mapping[str, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tolerant(rows: Any, _: str) -> list[Any]:
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    for module in ("runpod.client", "vast.client", "lambda_cloud.client"):
        monkeypatch.setattr(f"gpu_providers.{module}.objects", tolerant)
    for cloud in EMULATORS:
        edits = (Put(CLOUDS_LISTS[cloud], [None]),)
        cases = [Case(cloud, "list", number, edits) for number in range(2 if cloud == "runpod" else 1)]
        assert "on nobody's word" in some_problem(clouds, *cases), cloud


def test_a_lost_answer_to_a_create_taken_for_a_refusal_is_found(
    clouds: Mapping[str, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(client: Any, path: str, body: Any) -> Any:
        answer = client._http.once(client._request("POST", path, body=body))
        if not answer.is_success:
            raise ProviderUnavailable("it did not work")
        return answer.json()

    monkeypatch.setattr("gpu_providers.runpod.client.RunPodClient._create", careless)
    assert "says that it was not" in some_problem(clouds, Case("runpod", "launch", 0, (Status(500),)))


def test_a_failing_case_is_told_by_the_edit_that_matters(
    clouds: Mapping[str, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_providers.runpod.pod_answers.moment", lambda value: value.upper())
    to_blame = Put(("createdAt",), 5)
    case = Case("runpod", "describe", 0, (Put(("cost",), 1), to_blame, Drop(("image",))))
    assert shrunk(case, clouds) == replace(case, edits=(to_blame,))
