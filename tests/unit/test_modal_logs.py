"""Logs at Modal: lines out of pieces of output, the last ones, and what comes after them."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modal.types import LogEntry
from scripted_workspace import STDERR, STOPPED, ScriptedApp, ScriptedWorkspace

from gpu_providers.errors import NotFound
from gpu_providers.modal_cloud.logs import MOST_ENTRIES, OVERLAP, Lines, app_log

POLL_S = 0.02


def entry(message: str, *, container: str = "ta-1", source: str = "stdout") -> LogEntry:
    return LogEntry(message, datetime.now(UTC), source, "ap-1", ["fu-1", container])


def lines_of(*entries: LogEntry) -> list[str]:
    lines = Lines()
    return [*lines.of(entries), *lines.rest()]


def read(
    workspace: ScriptedWorkspace,
    app_id: str,
    *,
    tail: int | None = None,
    follow: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> list[str]:
    with workspace.asked() as apps:
        return list(app_log(apps.session, app_id, tail=tail, follow=follow, stop=stop, poll_s=POLL_S))


# Lines


@given(st.lists(st.text(st.characters(exclude_characters="\r\n"), min_size=1)), st.data())
def test_however_output_is_cut_in_pieces_its_lines_are_the_same(written: list[str], data: st.DataObject) -> None:
    text = "".join(line + data.draw(st.sampled_from(["\n", "\r\n", "\r"])) for line in written)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert lines_of(*map(entry, pieces)) == written


def test_lines_without_text_are_lines_as_well() -> None:
    assert lines_of(entry("a\n\nb\n\n")) == ["a", "", "b", ""]


def test_pieces_of_several_containers_and_streams_do_not_mix() -> None:
    pieces = [
        entry("half of "),
        entry("warning: ", source="stderr"),
        entry("other\n", container="ta-2"),
        entry("one\n"),
        entry("hot\n", source="stderr"),
    ]
    assert lines_of(*pieces) == ["other", "half of one", "warning: hot"]


def test_what_never_ends_is_a_line_all_the_same() -> None:
    assert lines_of(entry("a\nhalf of b")) == ["a", "half of b"]


def test_what_modal_itself_says_is_always_a_line() -> None:
    said = "Runner failed with exit code: 2"
    assert Lines().of([entry(said, source="system"), entry(f"{said}\n", source="system")]) == [said, said]


# The past


def test_all_lines_come_oldest_first_and_tail_keeps_the_last() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp())
    for number in range(300):
        app.writes(f"line {number}\n", ago_s=1000.0 - number)
    app.writes("no end", source=STDERR)
    lines = [*(f"line {number}" for number in range(300)), "no end"]
    assert read(workspace, app.id) == lines
    for tail in (0, 1, 250, 1000):
        assert read(workspace, app.id, tail=tail) == lines[len(lines) - min(tail, len(lines)) :]


def test_no_more_is_asked_for_than_modal_gives_at_once() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp())
    app.writes("hello\n")
    assert read(workspace, app.id, tail=10 * MOST_ENTRIES) == ["hello"]


def test_the_log_of_an_app_that_has_ended_can_be_read() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp(state=STOPPED))
    app.writes("last words\n", ago_s=7 * 86_400)
    assert read(workspace, app.id) == ["last words"]
    assert read(workspace, app.id, follow=True) == ["last words"]


@pytest.mark.parametrize("follow", [True, False])
def test_what_never_existed_has_no_log(follow: bool) -> None:
    with pytest.raises(NotFound):
        read(ScriptedWorkspace(), "ap-" + "9" * 22, follow=follow)


# What comes


def after_looks(*steps: Callable[[], object]) -> Callable[[], bool]:
    """A `stop` that takes one step before each look, and then says that it is enough."""
    left: Iterator[Callable[[], object]] = iter(steps)

    def stop() -> bool:
        step = next(left, None)
        if step:
            step()
        return step is None

    return stop


def test_following_tells_every_line_once_and_also_what_modal_hands_out_late() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp())
    late_s = OVERLAP.total_seconds() - 5
    app.writes("old\n", ago_s=1000.0)
    app.writes("known\n")
    stop = after_looks(
        lambda: None,
        lambda: app.writes("begun, "),
        lambda: app.writes("and ended\n"),
        lambda: app.writes("late\n", ago_s=late_s),
        lambda: app.writes("begun, and never ended"),
    )
    followed = read(workspace, app.id, tail=1, follow=True, stop=stop)
    assert followed == ["known", "begun, and ended", "late", "begun, and never ended"]


def test_what_tail_has_left_out_does_not_come_back_by_following() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp())
    for number in range(500):
        app.writes(f"line {number}\n", ago_s=10.0 - number / 100)
    stop = after_looks(lambda: None, lambda: app.writes("new\n"))
    assert read(workspace, app.id, tail=2, follow=True, stop=stop) == ["line 498", "line 499", "new"]


def test_an_app_that_has_said_nothing_yet_can_be_followed() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp())
    assert read(workspace, app.id, follow=True, stop=after_looks(lambda: app.writes("first\n"))) == ["first"]


def test_following_ends_with_the_app_and_its_last_words() -> None:
    workspace = ScriptedWorkspace(app := ScriptedApp())

    def end() -> None:
        app.writes("last words\n")
        app.state = STOPPED

    never = after_looks(lambda: None, end, *(lambda: None,) * 1000)
    assert read(workspace, app.id, follow=True, stop=never) == ["last words"]
