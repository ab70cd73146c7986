"""Which platforms run on which, as far as containerd's rules for variants go."""

import pytest

from proxy.registry.platforms import distance


@pytest.mark.parametrize(
    ("platform", "wanted", "far"),
    [
        ("linux/amd64", "linux/amd64", 0),
        ("linux/amd64", "linux/arm64", None),
        ("linux/amd64", "windows/amd64", None),
        ("linux/arm64", "linux/arm64/v8", 0),
        ("linux/arm64/v8", "linux/arm64", 0),
        ("linux/arm64/v9", "linux/arm64/v8", None),
        ("linux/arm/v7", "linux/arm/v7", 0),
        ("linux/arm/v6", "linux/arm/v7", 1),
        ("linux/arm/v5", "linux/arm/v7", 2),
        ("linux/arm/v7", "linux/arm/v6", None),
        ("linux/arm", "linux/arm/v7", 0),
        ("linux/arm", "linux/arm/v6", None),
        ("linux/arm/v6", "linux/arm", 0),
        ("linux/amd64/v3", "linux/amd64", 0),
        ("linux/amd64/v1", "linux/amd64/v3", 2),
        ("linux/ppc64le/power9", "linux/ppc64le/power9", 0),
        ("linux/ppc64le/power9", "linux/ppc64le/power8", None),
        ("linux/arm/v" + "7" * 5000, "linux/arm/v7", None),
        ("linux/arm/v7", "linux/arm/v" + "7" * 5000, None),
        ("linux/arm/v\u0667", "linux/arm/v7", None),
        ("linux/arm/7", "linux/arm/v7", 0),
        ("linux/arm64", "linux", 0),
        ("linux/arm64", "arm64", 0),
        ("linux/arm64/v8", "arm64", 0),
        ("windows/arm64", "arm64", None),
        ("linux/arm64", "lin", None),
        ("linux/arm64", "linux/arm", None),
    ],
)
def test_how_far_a_platform_is_from_another(platform: str, wanted: str, far: int | None) -> None:
    assert distance(platform, wanted) == far
