"""`gpu doctor`: what works here, what does not, and what to do about it."""

from gpu_cli.commands.options import AsJson
from gpu_cli.exits import Exit
from gpu_cli.ui.output import Result, Table, show


def doctor(as_json: AsJson = False) -> None:
    """Check credentials, engine, clock and disk. Exit status 2 when something does not work."""
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.checkup import check_all

    with open_here() as fleet:
        checks = check_all(fleet)
    document = {
        "checks": [
            {"subject": check.subject, "ok": check.ok, "message": check.message, "hint": check.hint} for check in checks
        ]
    }
    rows = tuple(("ok" if check.ok else "FAILS", check.subject, check.message, check.hint) for check in checks)
    status = Exit.DONE if all(check.ok for check in checks) else Exit.BAD_INPUT
    table = Table(("", "WHAT", "FOUND", "WHAT TO DO"), rows)
    show(Result(document, table=table, exit_status=status), as_json=as_json)
