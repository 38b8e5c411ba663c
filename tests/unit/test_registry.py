"""Providers come in by entry points, and a broken one holds up nobody."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_providers import registry
from gpu_providers.base import ProviderContext
from gpu_providers.errors import InvalidRequest, ProviderUnavailable
from gpu_providers.local.provider import LocalProvider

Install = Callable[[str], str]

GOOD = "from gpu_providers.local.provider import LocalProvider as Provider"
BROKEN = {
    "import": "raise RuntimeError('the SDK is too old')",
    "import that ends the program": "raise SystemExit('no SDK')",
    "syntax": "class Provider(",
    "missing attribute": "",
    "not a provider": "Provider = dict",
    "half a provider": "from gpu_providers.base import Provider",
}


@pytest.fixture
def context(tmp_path: Path) -> ProviderContext:
    return ProviderContext(tmp_path / "state", {})


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution with one module as a plug-in, as pip would leave it on the path."""

    def install(source: str) -> str:
        module = "gpu_plugin_for_this_test"
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / "gpu_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gpu-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[gpu_providers]\nacme = {module}:Provider\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, module, raising=False)
        return module

    return install


def test_ours_come_in_by_the_same_door_as_a_plug_in(context: ProviderContext) -> None:
    assert registry.available()["local"].group == "gpu_providers"
    provider = registry.load("local", context)
    assert isinstance(provider, LocalProvider)
    assert provider.context is context
    assert provider.name == "local"


def test_a_plug_in_is_found_and_loaded_but_not_before_it_is_asked_for(
    install: Install, context: ProviderContext
) -> None:
    module = install(GOOD)
    assert {"acme", "local"} <= registry.available().keys()
    assert module not in sys.modules
    assert isinstance(registry.load("acme", context), LocalProvider)


def test_an_unknown_name_lists_the_installed_ones(install: Install, context: ProviderContext) -> None:
    install(GOOD)
    with pytest.raises(InvalidRequest, match="unknown provider 'runpot'") as refusal:
        registry.load("runpot", context)
    assert "acme, lambda, local" in refusal.value.hint


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plug_in_is_named_and_the_others_still_load(
    install: Install, context: ProviderContext, fault: str
) -> None:
    module = install(BROKEN[fault])
    with pytest.raises(ProviderUnavailable, match="'acme'") as failure:
        registry.load("acme", context)
    assert module in failure.value.hint
    assert registry.load("local", context).name == "local"
