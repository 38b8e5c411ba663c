"""When an emulated resource came and when it went: clouds go on showing what is gone, and their lists lag behind."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Lifetime:
    """Of a resource, which stays on record when it is gone. Times are seconds since 1970 on the cloud's clock."""

    created_at: float
    gone_at: float | None = None
    shown_until: float = 0.0
    """What is gone may be shown for longer."""

    def end(self, now: float, shown_for_s: float = 0.0) -> None:
        self.gone_at = now
        self.shown_until = now + shown_for_s

    def is_shown(self, now: float) -> bool:
        return self.gone_at is None or now < self.shown_until

    def is_listed(self, now: float, lag_s: float = 0.0) -> bool:
        """By a list that shows what was there so long ago."""
        as_of = now - lag_s
        was_there = self.gone_at is None or as_of < self.gone_at
        return self.created_at <= as_of and (was_there or self.is_shown(now))
