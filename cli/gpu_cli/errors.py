"""The one error that commands raise for people and scripts to read."""

from collections.abc import Mapping, Sequence

from gpu_cli.exits import Exit


class UserError(Exception):
    """Something the user should know: what happened, what to do, and what may still bill.

    `code` is a short stable word for scripts (`bad-recipe`); `message` and `hint` are one line each and hold no secret.
    `document` is what else scripts are told: keys beside `error` of what is printed with `--json`.
    """

    def __init__(
        self,
        exit_status: Exit,
        code: str,
        message: str,
        *,
        hint: str = "",
        still_billing: Sequence[str] = (),
        document: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.exit_status = exit_status
        self.code = code
        self.message = message
        self.hint = hint
        self.still_billing = tuple(still_billing)
        self.document = document or {}


def as_one(errors: Sequence[UserError]) -> UserError:
    """Of several things that went wrong, the first: with what is to be said of all, and all that may still bill."""
    first = errors[0]
    message = "; ".join(dict.fromkeys(error.message for error in errors))
    billing = dict.fromkeys(name for error in errors for name in error.still_billing)
    return UserError(first.exit_status, first.code, message, hint=first.hint, still_billing=tuple(billing))
