"""Which platforms run on which, as far as containerd's rules for variants go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ("linux/amd64", "x86_64", 0),
        ("linux/amd64", "linux/x86-64", 0),
        ("linux/x86_64", "linux/amd64", 0),
        ("linux/arm64/v8", "Linux/AArch64", 0),
        ("linux/arm/v7", "armhf", 0),
        ("linux/arm", "linux/armhf", 0),
        ("linux/armel", "arm/v6", 0),
        ("linux/arm/v6", "armhf", 1),
        ("linux/386", "i386", 0),
        ("linux/386", "amd64", None),
        ("linux/arm64", "arm64/v8", 0),
    ],
)
def test_how_far_a_platform_is_from_another(platform: str, wanted: str, far: int | None) -> None:
    assert distance(platform, wanted) == far


@pytest.mark.parametrize(
    ("engine", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"], "linux/amd64"),
        ("linux/amd64/v2", ["linux/amd64/v3", "linux/amd64", "linux/amd64/v2"], "linux/amd64/v2"),
        ("linux/amd64/v4", ["linux/amd64", "linux/amd64/v3", "linux/amd64/v2"], "linux/amd64/v3"),
        ("linux/amd64", ["linux/386", "linux/amd64/v2"], "linux/386"),
        ("linux/amd64", ["linux/386", "linux/amd64"], "linux/amd64"),
        ("x86_64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/386", ["linux/amd64", "linux/arm64"], None),
        ("linux/amd64", ["linux/amd64/v2", "windows/386"], None),
        ("linux/arm64", ["linux/arm64/v9", "linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64", ["linux/arm64/v9", "linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/aarch64", ["linux/arm/v5", "linux/arm/v8", "linux/arm"], "linux/arm/v8"),
        ("linux/arm", ["linux/arm/v8", "linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], "linux/arm/v5"),
        ("linux/arm", ["linux/arm64", "linux/arm/v8"], None),
        ("linux/ppc64le", ["linux/ppc64le/power9", "linux/amd64"], "linux/ppc64le/power9"),
    ],
)
def test_an_engine_runs_what_containerd_says(engine: str, offered: list[str], chosen: str | None) -> None:
    gaps = {each: gap for each in offered if (gap := distance(each, engine, own=True)) is not None}

    assert min(gaps, key=lambda each: gaps[each], default=None) == chosen


@given(st.sampled_from(["amd64", "arm64", "arm"]), st.integers(1, 12), st.integers(1, 12))
def test_an_engine_takes_no_newer_variant_and_the_newest_of_the_others(kind: str, mine: int, other: int) -> None:
    gap = distance(f"linux/{kind}/v{other}", f"linux/{kind}/v{mine}", own=True)

    assert gap == (mine - other if other <= mine else None)
