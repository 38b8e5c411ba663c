import pytest

from gpu_cli.fleet.node.image import engine_image


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
    image = engine_image(version)
    assert (image.reference, image.min_cuda_version) == (f"vllm/vllm-openai:v{version}", floor)


@pytest.mark.parametrize("version", ["0.32.0", "0.20.0", "0.20", "1.0"])
def test_a_release_with_cuda_13_has_an_older_build_besides_and_both_are_for_arm_too(version: str) -> None:
    image = engine_image(version)
    assert image.older == f"vllm/vllm-openai:v{version}-cu129"
    assert image.architectures == ("x86_64", "arm64")


@pytest.mark.parametrize("version", ["0.19.1", "0.11.0", "0.8.5.post1"])
def test_a_release_with_cuda_12_has_one_build_for_one_architecture(version: str) -> None:
    image = engine_image(version)
    assert (image.older, image.architectures) == ("", ("x86_64",))
