"""The summary, as a parser of GitHub's Markdown reads it."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from proxy.catalog.volume import Volume
from proxy.reporting.history import Moved, Refusal
from proxy.reporting.markdown import Facts, Row, write
from proxy.text import code, safe_text

DIGEST = "sha256:" + "ab" * 32
MIB = 2**20
OUR_TOKENS = {
    *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "fence", "text", "code_inline"),
    *("table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close"),
    *("th_open", "th_close", "td_open", "td_close", "bullet_list_open", "bullet_list_close"),
    *("list_item_open", "list_item_close", "strong_open", "strong_close", "html_block"),
}
HOSTILE = [
    "::error::x",
    "##[group]x",
    "a\n\n# heading\n",
    "`", "``", "` `", "a`b``c```d", "`|`", "|", "a|b", "\\|", "\\", "a\\",
    "<script>alert(1)</script>", "<!-- ", "<img src=x onerror=y>", "[a](https://evil.example)", "![a](b)",
    "https://evil.example", "www.evil.example", "me@evil.example", "**b**", "~~s~~", "&lt;&#124;",
    "```mermaid\ngraph LR",
    "\u202etxt", "\u2028", "\x1b[2J", " ", "", "  x  ", "| --- |", "- item", "> quote", "x" * 300, "😀" * 300,
]  # fmt: skip
TEXTS = st.sampled_from(HOSTILE) | st.text(st.sampled_from("`|\\<>[]()!*_~#:&;-\n\r\t a1/@.")) | st.text()


def tokens(markdown: str) -> Iterator[Token]:
    """Read Markdown as GitHub does, with HTML, tables, and addresses that become links by themselves."""
    for token in MarkdownIt("gfm-like").parse(markdown):
        yield token
        yield from token.children or []


def cells(markdown: str) -> list[list[str]]:
    """Return the plain text of the rows of all tables."""
    rows: list[list[str]] = []
    parsed = list(MarkdownIt("gfm-like").parse(markdown))
    for token, inside in pairwise(parsed):
        if token.type == "tr_open":
            rows.append([])
        if token.type in {"td_open", "th_open"}:
            rows[-1].append("".join(each.content for each in inside.children or []).replace("\N{NO-BREAK SPACE}", " "))
    return rows


def shown(text: str) -> str:
    """Return what a reader sees of a text from outside."""
    return safe_text(text).replace("|", "¦") or " "


def row(reference: str = "app:v1", digest: str = DIGEST, *, pushed: bool = True, **more: object) -> Row:
    return Row(reference, digest, pushed, **more)  # type: ignore[arg-type]


def blocks(markdown: str) -> dict[str, list[str]]:
    """Return the lines of the blocks to copy, by the paragraph above each."""
    found, title = {}, ""
    for token in tokens(markdown):
        if token.type == "fence" and token.info == "sh":
            found[title] = token.content.splitlines()
        title = token.content or title
    return found


@given(TEXTS)
@example("`")
@example("\\")
def test_a_code_span_shows_a_text_and_nothing_in_it_is_markdown(text: str) -> None:
    for markdown in (code(text), f"x {code(text)} y", f"{code('`')} {code(text)}"):
        (paragraph,) = [token for token in MarkdownIt("gfm-like").parse(markdown) if token.type == "inline"]
        spans = [token.content for token in paragraph.children or [] if token.type == "code_inline"]
        assert spans[-1] == shown(text)
        assert {token.type for token in paragraph.children or []} <= {"code_inline", "text"}


@given(TEXTS, TEXTS)
@example("a\\", "b|c")
def test_a_code_span_stays_in_its_cell_of_a_table(first: str, second: str) -> None:
    markdown = f"| a | b |\n| --- | --- |\n| {code(first)} | {code(second)} |\n"

    assert cells(markdown) == [["a", "b"], [shown(first), shown(second)]]


@given(st.lists(TEXTS, min_size=8, max_size=8))
@example(HOSTILE[:8])
@example(HOSTILE[8:16])
@example(HOSTILE[16:24])
@example(HOSTILE[-8:])
def test_nothing_from_outside_can_break_out_of_a_summary(texts: list[str]) -> None:
    reference, platform, failed, problem, path, message, head, event = texts
    refusal = Refusal("GET", path, 403, message)
    facts = Facts(
        place="artifacts of this run",
        rows=[row(reference, platforms=[platform, platform])],
        moved=Moved(1, 2, 3, 4, 5),
        run={"run": "7", "head": head, "commit": message, "event": event},
        pending=[reference],
        failed=[(failed, problem)],
        missing=[refusal],
        refused=[(refusal, 3)],
    )

    written = write(facts)

    found = list(tokens(written))
    assert {token.type for token in found} <= OUR_TOKENS | {"softbreak"}
    assert [token.info for token in found if token.type == "fence"] == ["mermaid"]
    assert [token.content.strip() for token in found if token.type == "html_block"] == [
        "<details><summary>Where the bytes went</summary>",
        "</details>",
    ]
    assert [len(each) for each in cells(written)] == [3, 3, 4, 4]
    assert cells(written)[1][0] == shown(reference)
    assert cells(written)[3] == [shown(f"GET {path}"), "403", shown(message), "3"]
    assert not [line for line in written.splitlines() if line.lstrip().startswith("::") or "##[" in line]


@given(TEXTS, st.integers(1, 2**63))
def test_the_picture_has_numbers_and_our_own_words_alone(text: str, size: int) -> None:
    moved = Moved(size, size, size, size, size)
    refusal = Refusal(text, text, 500, text)
    facts = Facts("artifacts of this run", rows=[row(text, platforms=[text])], moved=moved, refused=[(refusal, 1)])

    (picture,) = [token.content for token in tokens(write(facts)) if token.info == "mermaid"]

    assert picture == next(
        token.content
        for token in tokens(write(Facts(facts.place, rows=[row()], moved=moved)))
        if token.info == "mermaid"
    )


def test_a_summary_of_everything_at_its_worst_is_below_what_github_takes() -> None:
    worst, many = "😀`" * 5000, 5000
    refusal = Refusal(worst, worst, 403, worst)
    rows = [row(worst, platforms=[worst] * 100, size=2**60, pull="x" * 900, load=["x" * 900]) for _ in range(many)]
    facts = Facts(
        place="artifacts of this run",
        rows=rows,
        more=many,
        run={"run": worst, "head": worst, "commit": worst, "event": worst},
        pending=[worst] * many,
        failed=[(worst, worst)] * many,
        missing=[refusal] * many,
        refused=[(refusal, 1)] * many,
    )

    written = write(facts)

    assert len(written.encode()) < 2**20
    assert "9900 more images were handled before these" in written
    assert "- … and 4900 more; `GET /relay/health` lists them" in written
    assert "4900 other requests were refused before these" in written


def test_an_image_is_a_row_with_all_that_is_known_of_it() -> None:
    image = row(
        platforms=["linux/amd64", "linux/arm64"],
        size=30 * MIB,
        stored=20 * MIB,
        new=15 * MIB,
        reused=5 * MIB,
        stored_in=1.25,
        pulled_in=0.5,
        expires="2026-03-07 05:06 UTC",
    )

    heading, first, second = cells(write(Facts("artifacts of this run", rows=[image, row("app:v2", pushed=False)])))

    assert dict(zip(heading, first, strict=True)) == {
        "Image": "app:v1",
        "Digest": DIGEST[:19],
        "Platforms": "linux/amd64 linux/arm64",
        "Size": "30.0 MiB",
        "Stored": "20.0 MiB",
        "New": "15.0 MiB",
        "Reused": "5.0 MiB",
        "Time": "stored in 1.25 s, pulled in 0.50 s",
        "From": "pushed here",
        "Expires": "2026-03-07 05:06 UTC",
    }
    assert second == ["app:v2", DIGEST[:19], *["-"] * 6, "artifacts of this run", "-"]


def test_columns_that_say_nothing_or_nothing_new_are_left_out() -> None:
    image = row(size=30 * MIB, stored=20 * MIB, new=20 * MIB, reused=0, stored_in=1.0, pull="docker pull x/app:v1")

    assert cells(write(Facts("artifacts of this run", rows=[image]))) == [
        ["Image", "Size", "Stored", "Time"],
        ["app:v1", "30.0 MiB", "20.0 MiB", "stored in 1.00 s"],
    ]


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (Facts("x", rows=[row()]), "1 image pushed"),
        (Facts("x", rows=[row(), row("b:v1", pulled_in=1.0)]), "2 images pushed, 1 image pulled"),
        (Facts("x", rows=[row(pushed=False, pulled_in=1.0)], more=7), "1 image pulled, 7 more images handled before"),
        (Facts("x", rows=[row()], failed=[("b", "c")]), "1 image not stored, 1 image pushed"),
        (Facts("x", refused=[(Refusal("GET", "a", 403, "b"), 9)]), "1 request refused"),
    ],
)
def test_the_first_line_is_the_result(facts: Facts, told: str) -> None:
    assert write(facts).splitlines()[0] == f"### image-relay: {told}"


@pytest.mark.parametrize(
    ("volume", "told"),
    [
        (Volume(1, 20 * MIB), "20.0 MiB are kept in artifacts of this run: 1 image."),
        (Volume(12, 3 * 2**30), "3.0 GiB are kept in artifacts of this run: 12 images, with those that were replaced."),
        (
            Volume(1, 200_000_000, 50_000_000.0),
            "190.7 MiB are kept in artifacts of this run: 1 image. So far that was 0.05 GB-hours; each day until "
            "they are deleted or expire adds 4.80.",
        ),
        (
            Volume(2, 60_000_000_000, 1_234_500_000_000.0),
            "55.9 GiB are kept in artifacts of this run: 2 images, with those that were replaced. So far that was "
            "1,234.50 GB-hours; each day until they are deleted or expire adds 1,440.00.",
        ),
        (
            Volume(1, 2_000_000, 100.0),
            "1.9 MiB are kept in artifacts of this run: 1 image. So far that was less than 0.01 GB-hours; each day "
            "until they are deleted or expire adds 0.05.",
        ),
        (
            Volume(1, 2_000_000, 100.0, 50_000_000.0),
            "1.9 MiB are kept in artifacts of this run: 1 image. So far that was less than 0.01 GB-hours; each day "
            "until they are deleted or expire adds 0.05. Images that this job deleted had used 0.05 GB-hours.",
        ),
        (
            Volume(0, 0, 0.0, 50_000_000.0),
            "Nothing is kept in artifacts of this run any more. Images that this job deleted had used 0.05 GB-hours.",
        ),
    ],
)
def test_the_sum_of_all_images_is_a_paragraph_below_the_table(volume: Volume, told: str) -> None:
    read = list(tokens(write(Facts("artifacts of this run", rows=[row()], more=1, volume=volume))))

    paragraphs = [token.content for before, token in pairwise(read) if before.type == "paragraph_open"]

    assert (
        paragraphs
        == [told, "1 more image was handled before these; `GET /relay/images` lists all that are there."][::-1]
    )


@pytest.mark.parametrize(("gzip", "lines"), [(0, 0), (100_000_000, 0), (100_000_001, 1)])
def test_much_gzip_out_of_a_build_is_worth_one_line(gzip: int, lines: int) -> None:
    written = write(Facts("artifacts of this run", rows=[row()], gzip=gzip))

    told = [line for line in written.splitlines() if "in gzip" in line]
    assert told == lines * [
        "A push sent 95.4 MiB of layers in gzip. A build exports its layers faster with `compression=zstd`: see "
        "`docs/builds.md` of image-relay."
    ]


def test_the_page_that_the_summary_names_is_there() -> None:
    named = re.search(r"`(docs/\S+)`", write(Facts("artifacts of this run", rows=[row()], gzip=2**30)))

    assert named
    assert (Path(__file__).parents[3] / named[1]).is_file()


def test_commands_to_copy_say_where_and_the_digest_has_a_line_of_its_own() -> None:
    image = row(pull="docker pull localhost:5000/app:v1", load=["gh run download 7 -n a", "docker load -i a.tar.zst"])
    by_digest = row(f"app@{DIGEST}", pull=f"docker pull localhost:5000/app@{DIGEST}")

    written = write(Facts("artifacts of this run", "In a later job of this run", [image, by_digest]))

    assert blocks(written) == {
        "In a later job of this run:": [image.pull, f"# {DIGEST}", by_digest.pull],
        "On your machine:": ["gh run download 7 -n a", "docker load -i a.tar.zst"],
    }
    assert written.count(DIGEST[:19]) == 3  # of these one is a name


def test_a_command_that_would_break_out_of_its_block_is_left_out() -> None:
    image = row(pull="docker pull localhost:5000/app:v1", load=["docker load -i 'a\n```\n# b.tar.zst'"])

    assert blocks(write(Facts("the folder", rows=[image]))) == {"From this relay:": [image.pull, f"# {DIGEST}"]}


def test_the_picture_shows_where_bytes_went() -> None:
    moved = Moved(received=30 * MIB, sent=60 * MIB, new=20 * MIB, reused=10 * MIB, fetched=5 * MIB)

    (picture,) = [
        token
        for token in tokens(write(Facts("artifacts of this run", rows=[row()], moved=moved)))
        if token.info == "mermaid"
    ]

    assert picture.content.splitlines() == [
        "flowchart LR",
        '  push(["pushes"]) -->|"30.0 MiB"| relay["image-relay"]',
        '  relay["image-relay"] -->|"20.0 MiB new, 10.0 MiB re-used"| store[("artifacts of this run")]',
        '  store[("artifacts of this run")] -->|"5.0 MiB read"| relay["image-relay"]',
        '  relay["image-relay"] -->|"60.0 MiB"| pull(["pulls"])',
    ]


@pytest.mark.parametrize(
    ("moved", "drawn"),
    [
        (Moved(received=MIB, new=MIB), False),
        (Moved(fetched=MIB, sent=MIB), False),
        (Moved(received=MIB, new=MIB, reused=1), True),
        (Moved(received=MIB, new=MIB, sent=MIB), True),
    ],
)
def test_there_is_a_picture_only_where_it_shows_more_than_the_table(moved: Moved, drawn: bool) -> None:
    assert ("mermaid" in write(Facts("the folder", rows=[row()], moved=moved))) == drawn


def test_another_run_is_named_with_what_it_was_made_of() -> None:
    told = {"ready": True, "run": "123", "head": "octo/relay", "commit": "c0ffee", "event": "pull_request"}

    assert (
        "Images are read from another run: `123`, made of `octo/relay` at `c0ffee` (event `pull_request`).\n"
    ) in write(Facts("artifacts of run 123", rows=[row()], run=told))
    assert "Images are read from another run: `123`.\n" in write(Facts("x", rows=[row()], run={"run": "123"}))


def test_what_is_not_stored_and_what_was_refused_is_told_without_images_too() -> None:
    refusal = Refusal("PUT", "/v2/app/manifests/v1", 0, "the client left before the answer")
    written = write(
        Facts("the folder", pending=["app:a"], failed=[("app:b", "the disk is full")], refused=[(refusal, 2)])
    )

    assert written.startswith("### image-relay: 1 image not stored, 1 image not stored yet, 1 request refused\n")
    assert "**Not stored**:\n\n- `app:b`: `the disk is full`\n" in written
    assert "\nNot stored yet:\n\n- `app:a`\n" in written
    assert cells(written)[1] == ["PUT /v2/app/manifests/v1", "-", "the client left before the answer", "2"]
    assert "mermaid" not in written


@pytest.mark.parametrize("run", [{}, {"run": "123"}])
def test_where_nothing_happened_nothing_is_written(run: dict[str, object]) -> None:
    assert write(Facts("artifacts of this run", run=run)) == ""
