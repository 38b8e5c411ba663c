"""Which part may know of which: commands -> fleet -> planner, and gpu_providers knows none of them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

IO_MODULES = {
    "asyncio", "ftplib", "gpu_providers.registry", "http", "httpx", "io", "os", "pathlib", "psutil",
    "random", "requests", "shutil", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip

MAY_PRINT = {
    "cli/gpu_cli/app.py": "`--version` is answered while the options are being read, before there is anything else",
    "cli/gpu_cli/weights/fetcher.py": "runs as a process of its own in the engine's environment, which has no gpu_cli",
    "providers/gpu_providers/lambda_cloud/on_machine.py": "runs on rented machines, which have nothing of ours",
}
"""Files outside `ui` that may write to the standard streams, each with its reason."""

ABOVE = {"gpu_cli.commands", "gpu_cli.app", "typer"}
"""What only commands may know of."""
OBSERVERS = ("gpu_cli.bench", "gpu_cli.check", "gpu_cli.compare", "gpu_cli.top")
"""What measures, tests, weighs up and shows deployments."""

PRINTERS = {"print", "typer.echo", "typer.secho", "click.echo", "click.secho", "rich.print"}
STREAMS = {"sys.stdout", "sys.stderr"}
ASKS = {"fileno", "isatty", "encoding"}
"""What may be asked of a stream anywhere."""


def modules(package: str) -> list[Path]:
    folder = ROOT / ("providers" if package.startswith("gpu_providers") else "cli") / package.replace(".", "/")
    found = sorted(folder.rglob("*.py"))
    assert found, f"{package} has no modules: has it moved?"
    return found


def imported(path: Path) -> set[str]:
    """Every module that the file names in an import, inside functions too; `from a import b` gives `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what they reach"
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def offences(package: str, forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in sorted(imported(path))
        if within(name, forbidden)
    ]


def writes(path: Path) -> list[int]:
    """Lines that write to a standard stream, or hand it to something that may."""
    tree = ast.parse(path.read_text())
    harmless = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in ASKS}
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTERS)
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in STREAMS and node not in harmless)
    ]


def test_the_providers_know_nothing_of_the_command_line() -> None:
    assert offences("gpu_providers", {"gpu_cli", "typer", "rich"}) == []


def test_the_planner_does_no_input_or_output() -> None:
    assert offences("gpu_cli.planner", IO_MODULES) == []
    opens = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules("gpu_cli.planner")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "open"
    ]
    assert opens == []


def test_the_planner_knows_nothing_above_it() -> None:
    assert (
        offences(
            "gpu_cli.planner", {"gpu_cli.commands", "gpu_cli.fleet", "gpu_cli.models", "gpu_cli.ui", "gpu_cli.app"}
        )
        == []
    )


def test_the_fleet_knows_nothing_of_commands_nor_of_what_looks_at_it() -> None:
    assert offences("gpu_cli.fleet", {*ABOVE, *OBSERVERS, "gpu_cli.plots"}) == []


@pytest.mark.parametrize("observer", OBSERVERS)
def test_what_looks_at_the_fleet_knows_nothing_of_commands(observer: str) -> None:
    assert offences(observer, ABOVE) == []


def test_plots_are_drawn_of_values_alone() -> None:
    drawn_of = {"gpu_cli.bench.result", "gpu_cli.errors", "gpu_cli.plots", "gpu_cli.units", "gpu_cli.write_file"}
    ours = {name for path in modules("gpu_cli.plots") for name in imported(path) if within(name, {"gpu_cli"})}
    assert [name for name in sorted(ours) if not within(name, drawn_of)] == []


def test_only_the_ui_writes_to_the_standard_streams() -> None:
    elsewhere = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in (*modules("gpu_cli"), *modules("gpu_providers"))
        for line in writes(path)
        if "gpu_cli/ui/" not in path.as_posix() and path.relative_to(ROOT).as_posix() not in MAY_PRINT
    ]
    assert elsewhere == []


def test_every_exception_still_exists() -> None:
    assert [path for path in MAY_PRINT if not writes(ROOT / path)] == []


@pytest.mark.parametrize(
    "source", ["import httpx", "from os import path", "def f():\n    import os.path", "import socket as s"]
)
def test_the_rules_see_an_import_however_it_is_written(tmp_path: Path, source: str) -> None:
    (tmp_path / "module.py").write_text(source)
    assert [name for name in imported(tmp_path / "module.py") if within(name, IO_MODULES)] != []


@pytest.mark.parametrize(
    "source", ["print(1)", "import sys\nsys.stderr.write('x')", "f(file=sys.stdout)", "typer.echo('x')"]
)
def test_the_rules_see_a_write_however_it_is_written(tmp_path: Path, source: str) -> None:
    (tmp_path / "module.py").write_text(source)
    assert writes(tmp_path / "module.py") != []
