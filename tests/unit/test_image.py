import pytest

from gpu_cli.fleet.image import EngineImage, engine_image


@pytest.mark.parametrize(
    ("version", "floor"),
    [
        ("0.33.0", "13.0"),
        ("0.32.0", "13.0"),
        ("0.20.0", "13.0"),
        ("0.20.0rc1", "13.0"),
        ("1.0", "13.0"),
        ("0.20", "13.0"),
        ("0.19.1", "12.9"),
        ("0.11.1", "12.9"),
        ("0.11.0", "12.8"),
        ("0.9.2", "12.8"),
        ("0.9.0.1", "12.8"),
        ("0.8.5.post1", "12.4"),
    ],
)
def test_a_release_asks_for_the_cuda_version_that_its_image_was_built_for(version: str, floor: str) -> None:
    assert engine_image(version) == EngineImage(f"vllm/vllm-openai:v{version}", floor)
