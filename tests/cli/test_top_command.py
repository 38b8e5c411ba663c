"""`gpu top` on a terminal: the real program, the real teardown."""

import os
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from driver import COMMAND, PATIENCE_S, Gpu, wait_until


class Screen:
    """A terminal with the view on it."""

    def __init__(self, gpu: Gpu) -> None:
        self.controller, self.terminal = os.openpty()
        termios.tcsetwinsize(self.terminal, (24, 80))
        self.before = termios.tcgetattr(self.terminal)
        self.shown = b""
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), self.terminal)
        environ = {**os.environ, "TERM": "xterm-256color"}
        self.process = subprocess.Popen([*COMMAND, "top"], cwd=gpu.cwd, env=environ, **ends)
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, text: str) -> None:
        """Until it was shown at some time."""
        wait_until(lambda: text.encode() in self.shown)

    def press(self, key: str) -> None:
        """One key."""
        os.write(self.controller, key.encode())

    def ends_as_it_was(self) -> int:
        """The exit status; with the terminal as it was before."""
        status = self.process.wait(PATIENCE_S)
        assert termios.tcgetattr(self.terminal) == self.before
        wait_until(lambda: self.shown.count(b"\x1b[?1049h") <= self.shown.count(b"\x1b[?1049l"))
        return status

    def _read(self) -> None:
        try:
            while data := os.read(self.controller, 65536):
                self.shown += data
        except OSError:  # the terminal is closed
            return


@contextmanager
def top_of(gpu: Gpu) -> Iterator[Screen]:
    screen = Screen(gpu)
    try:
        yield screen
    finally:
        screen.process.kill()
        screen.process.wait()
        os.close(screen.terminal)
        os.close(screen.controller)


def test_the_view_takes_down_for_real_and_ctrl_c_leaves_the_terminal_as_it_was(gpu: Gpu, tiny: str) -> None:
    assert gpu("up", tiny).exit == 0
    (one,) = gpu("top", "--json").json["deployments"]
    assert (one["name"], one["requests_running"], one["output_tokens_per_s"]) == ("tiny", 0, 0.0)
    with top_of(gpu) as screen:
        screen.wait_for("tiny")
        screen.press("d")
        screen.wait_for("Take down tiny?")
        screen.press("y")
        screen.wait_for("tiny is gone; it cost $0.00")
        screen.wait_for("nothing is running")
        screen.press("\x03")
        assert screen.ends_as_it_was() == 130
    assert gpu.state_of("tiny") == "gone"
    assert gpu.engines() == []
