from gpu_cli.ui.stages import Stages


class Watched:
    """What was written, with a clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.time = 0.0
        self.written: list[str] = []
        self.stages = Stages(self.written.append, self.clock)

    def clock(self) -> float:
        return self.time


def test_a_stage_is_written_when_the_next_one_begins_with_how_long_it_took() -> None:
    watched = Watched()
    watched.stages.stage("install")
    watched.time = 2.5
    watched.stages.stage("weights")
    assert watched.written == ["install     2.5 s"]
    watched.time = 3.0
    watched.stages.close()
    assert watched.written == ["install     2.5 s", "weights     0.5 s"]


def test_naming_the_running_stage_again_changes_nothing() -> None:
    watched = Watched()
    watched.stages.stage("load")
    watched.time = 1.0
    watched.stages.stage("load")
    watched.time = 2.0
    watched.stages.close()
    watched.stages.close()
    assert watched.written == ["load        2.0 s"]


def test_details_are_shown_beside_their_stage_and_never_written() -> None:
    watched = Watched()
    watched.stages.stage("load")
    watched.stages.detail("weights 1 of 2 files")
    watched.time = 1.25
    assert watched.stages.line().split() == ["load", "1.2", "s", "weights", "1", "of", "2", "files"]
    watched.stages.stage("healthy")
    assert watched.stages.line().split() == ["healthy", "0.0", "s"]
    assert watched.written == ["load        1.2 s"]


def test_time_passes_while_nothing_is_told() -> None:
    watched = Watched()
    watched.stages.stage("boot")
    watched.time = 61.0
    assert watched.stages.line().split() == ["boot", "61.0", "s"]


def test_a_note_is_written_as_it_is() -> None:
    watched = Watched()
    watched.stages.note("weights from [somewhere]")
    assert watched.written == ["weights from [somewhere]"]
