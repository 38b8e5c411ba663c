"""What `gpu guard` says and does about the metrics that the guard serves."""

import json
from collections.abc import Mapping

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.paths import Paths, shipped
from gpu_cli.ui.output import Result

OFF = "off"


def with_metrics_at(text: str) -> Result:
    """What comes of `--metrics`. Raises UserError."""
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.guard.metrics_port import metrics_url, serve_at

    port = _port(text)
    with open_here() as fleet:
        serves = serve_at(fleet, port)
        document = {"metrics": metrics_document(fleet.paths)}
    if port is None:
        return Result(document, messages=("the guard serves no metrics",))
    message = (
        "the guard serves metrics, to this machine alone" if serves else "kept: the guard will, once something runs"
    )
    return Result(document, stdout=metrics_url(port), messages=(message,))


def the_dashboard() -> Result:
    """The one that is shipped, as a file for Grafana's import."""
    text = (shipped("templates") / "grafana-dashboard.json").read_text(encoding="utf-8")
    return Result(json.loads(text), stdout=text.rstrip())


def metrics_document(paths: Paths) -> Mapping[str, object] | None:
    """Where they are served, or are to be; None for nowhere."""
    from gpu_cli.fleet.guard.metrics_port import metrics_url, served_port, told, wanted_port

    port, said = wanted_port(paths), told(paths)
    if port is None:
        return None
    problem = said.problem if said and said.port == port else ""
    return {"url": metrics_url(port), "served": served_port(paths) == port, "problem": problem}


def metrics_in_words(document: Mapping[str, object] | None) -> str:
    """The same for people."""
    if document is None:
        return "no (gpu guard --metrics PORT)"
    if document["problem"]:
        return f"not served: {document['problem']}"
    return f"at {document['url']}{'' if document['served'] else ', once the guard runs'}"


def _port(text: str) -> int | None:
    """None for none. Raises UserError BAD_INPUT."""
    if text == OFF:
        return None
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    message = f"--metrics: {text!r} is no port"
    raise UserError(Exit.BAD_INPUT, "usage", message, hint="write a number up to 65535, such as 9400, or off")
