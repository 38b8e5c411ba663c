"""The live view: what its keys do, and that no slow cloud ever holds the screen."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
from fleets import NOW, deployment
from textual.pilot import Pilot
from textual.widgets import DataTable, RichLog, Static

from gpu_cli.errors import UserError, as_one
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.end.stops import stops_of
from gpu_cli.fleet.gauges.readings import Gauges
from gpu_cli.top.app import NOTHING_RUNS, TopApp
from gpu_cli.top.screens import KeysScreen, LogScreen, TakeDownQuestion
from gpu_cli.top.sight import Seen, Sight
from gpu_cli.top.table import FleetTable

SOON_S = 20.0
EVERY_S = 0.15


class FakeDesk:
    """Deployments in memory. `slow` is waited for by all that a cloud has to do."""

    def __init__(self, *names: str) -> None:
        self.live = [deployment(name) for name in names]
        self.rate = 100.0
        self.slow = threading.Event()
        self.slow.set()
        self.looks = 0
        self.trouble: Exception | None = None
        self.overdue: UserError | None = None
        """That does not end."""
        self.stays = False
        self.logs_left = threading.Event()

    def settle(self) -> None:
        self.slow.wait(SOON_S)
        if self.overdue:
            raise self.overdue

    def look(self) -> Sight:
        self.looks += 1
        if self.trouble:
            raise self.trouble
        gauges = [Gauges(one, NOW, 2, 0, 50.0, self.rate, 0.1) for one in self.live]
        return Sight(NOW, tuple(Seen(each, stops_of(each.deployment, guard_lives=True)) for each in gauges))

    def logs(self, deployment: Deployment, stop: Callable[[], bool]) -> Iterator[str]:
        yield f"this is {deployment.name}"
        while not stop():
            time.sleep(0.01)
        self.logs_left.set()

    def take_down(self, deployment: Deployment) -> Deployment:
        self.slow.wait(SOON_S)
        if self.stays:
            message = f"{deployment.name} is not confirmed gone"
            billing = [deployment.resource_name]
            raise UserError(Exit.CLEANUP_UNCONFIRMED, "unconfirmed", message, hint="again", still_billing=billing)
        self.live = [one for one in self.live if one.name != deployment.name]
        return replace(deployment, state=State.GONE, ended_at=NOW + 1800)


def driven(
    desk: FakeDesk, story: Callable[[TopApp, Pilot[None]], Awaitable[None]], width: int = 80, height: int = 24
) -> TopApp:
    """The app after the story, which begins with the first sight on the screen."""
    app = TopApp(desk, EVERY_S)

    async def run() -> None:
        async with app.run_test(size=(width, height)) as pilot:
            await until(pilot, lambda: "looking" not in text(app, "#heading"))
            await story(app, pilot)
            desk.slow.set()

    asyncio.run(run())
    return app


async def until(pilot: Pilot[None], is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + SOON_S
    while not is_so():
        assert time.monotonic() < give_up_at, "it never came to be so"
        await asyncio.sleep(0.02)


def text(app: TopApp, selector: str) -> str:
    return str(app.screen_stack[0].query_one(selector, Static).content)


def table(app: TopApp) -> list[list[str]]:
    shown = app.screen_stack[0].query_one(DataTable)
    titles = [str(column.label) for column in shown.columns.values()]
    return [titles, *([str(cell) for cell in shown.get_row_at(row)] for row in range(shown.row_count))]


def chosen(app: TopApp) -> str:
    one = app.query_one(FleetTable).chosen
    assert one
    assert one.deployment.name in text_of_details(app)
    return one.deployment.name


def text_of_details(app: TopApp) -> str:
    grid = app.query_one("#details", Static).content
    return " ".join(str(cell) for column in grid.columns for cell in column._cells)  # type: ignore[union-attr]


def test_every_deployment_has_a_row_that_follows_what_happens_and_is_never_gone() -> None:
    desk = FakeDesk("one", "two")

    async def story(app: TopApp, pilot: Pilot[None]) -> None:
        titles, first, second = table(app)
        assert (first[0], second[0]) == ("one", "two")
        rate = titles.index("OUT/S")
        assert first[rate] == "100"
        desk.rate = 250.0
        await until(pilot, lambda: table(app)[1][rate] == "250")
        assert "2 deployments" in text(app, "#heading")
        for looks in range(desk.looks, desk.looks + 5):
            await until(pilot, lambda looks=looks: desk.looks > looks)  # type: ignore[misc]
            assert app.query_one(DataTable).size.height == 3

    driven(desk, story)


def test_the_size_of_the_terminal_decides_what_is_shown() -> None:
    async def story(app: TopApp, pilot: Pilot[None]) -> None:
        assert "WHERE" not in table(app)[0]
        await pilot.resize_terminal(20, 5)
        await until(pilot, lambda: table(app)[0] == ["NAME", "STATE", "ENDS"])
        await pilot.resize_terminal(140, 24)
        await until(pilot, lambda: "WHERE" in table(app)[0])
        assert app.query_one(DataTable).size.height == 2

    driven(FakeDesk("one"), story, width=60)


def test_of_many_the_chosen_one_stays_chosen_and_in_sight() -> None:
    desk = FakeDesk(*(f"n{number:02}" for number in range(30)))

    async def story(app: TopApp, pilot: Pilot[None]) -> None:
        shown = app.query_one(FleetTable)
        await pilot.press("pagedown", "pagedown")
        before, scrolled = chosen(app), shown.scroll_y
        looks = desk.looks
        await until(pilot, lambda: desk.looks > looks + 1)
        assert (chosen(app), shown.scroll_y) == (before, scrolled)
        assert scrolled > 0
        await pilot.resize_terminal(140, 24)
        await until(pilot, lambda: "WHERE" in table(app)[0] and shown.scroll_y == scrolled)
        desk.live = desk.live[10:]
        await until(pilot, lambda: len(table(app)) == 21)
        await until(pilot, lambda: shown.scroll_y <= shown.cursor_row < shown.scroll_y + shown.size.height - 1)
        assert chosen(app) == before
        del desk.live[shown.cursor_row]
        await until(pilot, lambda: len(table(app)) == 20)
        assert chosen(app) == f"n{int(before[1:]) + 1}", "what is in its place"

    driven(desk, story)


def test_nothing_running_says_how_to_start_something() -> None:
    async def story(app: TopApp, pilot: Pilot[None]) -> None:
        assert text(app, "#notes") == NOTHING_RUNS
        await pilot.press("d", "l")
        assert len(app.screen_stack) == 1

    driven(FakeDesk(), story)


def test_taking_down_asks_first_enter_is_no_answer_and_what_it_cost_is_told() -> None:
    desk = FakeDesk("one", "two")

    async def story(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("down")
        for answer in ("n", "escape"):
            await pilot.press("d")
            await until(pilot, lambda: isinstance(app.screen, TakeDownQuestion))
            await pilot.press("enter", answer)
            await until(pilot, lambda: len(app.screen_stack) == 1)
        assert app.work.ending() == []
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, TakeDownQuestion))
        await pilot.press("y")
        await until(pilot, lambda: [row[0] for row in table(app)] == ["NAME", "one"])
        await until(pilot, lambda: [one.message for one in app._notifications] == ["two is gone; it cost $1.00"])

    driven(desk, story)


def test_keys_work_while_a_cloud_takes_its_time() -> None:
    desk = FakeDesk("one")
    desk.overdue = UserError(Exit.CLEANUP_UNCONFIRMED, "unconfirmed", "an old one is not confirmed gone")
    desk.slow.clear()

    async def story(app: TopApp, pilot: Pilot[None]) -> None:
        looks = desk.looks
        await until(pilot, lambda: desk.looks > looks + 1)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, TakeDownQuestion))
        await pilot.press("y")
        await until(pilot, lambda: "one: being taken down" in text(app, "#notes"))
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, KeysScreen))
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        await pilot.press("d")
        assert len(app.screen_stack) == 1, "it is being taken down already"
        desk.slow.set()
        await until(pilot, lambda: "an old one is not confirmed gone" in text(app, "#notes"))
        desk.overdue = None
        app.work._settle()
        assert app.work.not_ended() == []

    driven(desk, story)


def test_what_may_bill_on_stays_on_the_screen_and_is_kept_for_the_end_until_it_is_gone() -> None:
    desk = FakeDesk("one", "two")
    desk.stays = True

    async def story(app: TopApp, pilot: Pilot[None]) -> None:
        desk.slow.clear()
        for keys in (["d"], ["down", "d"]):
            await pilot.press(*keys)
            await until(pilot, lambda: isinstance(app.screen, TakeDownQuestion))
            await pilot.press("y")
            await until(pilot, lambda: len(app.screen_stack) == 1)
        assert [one.name for one in app.work.ending()] == ["one", "two"]
        desk.slow.set()
        await until(pilot, lambda: len(app.work.not_ended()) == 2)
        looks = desk.looks
        await until(pilot, lambda: desk.looks > looks + 1)
        for name in ("one", "two"):
            assert f"{name} is not confirmed gone; again" in text(app, "#notes")
        desk.live = desk.live[1:]  # the guard has managed it
        await until(pilot, lambda: "one is not" not in text(app, "#notes"))
        assert [error.exit_status for error in app.work.not_ended()] == [Exit.CLEANUP_UNCONFIRMED]

    app = driven(desk, story)
    assert [error.message for error in app.work.not_ended()] == ["two is not confirmed gone"]


def test_a_log_is_followed_until_it_is_left() -> None:
    desk = FakeDesk("one")

    async def story(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, LogScreen))
        await until(pilot, lambda: [line.text for line in app.screen.query_one(RichLog).lines] == ["this is one"])
        await pilot.press("d", "question_mark")
        assert isinstance(app.screen, LogScreen), "which one it would take down is not to be seen here"
        await pilot.press("q")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        await until(pilot, desk.logs_left.is_set)

    driven(desk, story)


def test_a_look_that_fails_is_told_and_the_next_one_is_shown() -> None:
    desk = FakeDesk("one")

    async def story(app: TopApp, pilot: Pilot[None]) -> None:
        desk.trouble = UserError(Exit.BAD_INPUT, "busy", "the record is in use")
        await until(pilot, lambda: "the record is in use" in text(app, "#notes"))
        assert table(app)[1][0] == "one"
        desk.trouble = None
        await until(pilot, lambda: text(app, "#notes") == "")

    driven(desk, story)


def test_what_nobody_foresaw_ends_the_view_and_is_not_lost() -> None:
    desk = FakeDesk("one")
    desk.trouble = KeyError("a bug")
    app = TopApp(desk, EVERY_S)
    asyncio.run(app.run_async(headless=True))
    assert app.work.broken is desk.trouble


def test_all_that_could_not_be_ended_is_told_in_one_error() -> None:
    one, two = (
        UserError(Exit.CLEANUP_UNCONFIRMED, "unconfirmed", name, hint="again", still_billing=[name])
        for name in ("one", "two")
    )
    error = as_one([one, two, one])
    assert (error.message, error.hint, error.still_billing) == ("one; two", "again", ("one", "two"))
    assert (error.exit_status, error.code) == (Exit.CLEANUP_UNCONFIRMED, "unconfirmed")


@pytest.mark.parametrize(("key", "interrupted"), [("q", False), ("ctrl+c", True)])
def test_it_is_left_with_a_key(key: str, interrupted: bool) -> None:
    app = TopApp(FakeDesk("one"), EVERY_S)

    async def press(pilot: Pilot[None]) -> None:
        await pilot.press(key)

    asyncio.run(asyncio.wait_for(app.run_async(headless=True, auto_pilot=press), SOON_S))
    assert app.interrupted is interrupted
