import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()


COMPOSED = {  # of parts; other tests see them whole
    "is not here: image-relay has no session",
    'GITHUB_TOKEN cannot read artifacts: give the job "permissions: {actions: read}"',
    'GITHUB_TOKEN cannot delete artifacts: give the job "permissions: {actions: write}"',
    "is not a setting of image-relay; did you mean",
    "RELAY_RUN_ID needs GITHUB_REPOSITORY and GITHUB_TOKEN",
    "RELAY_FROM=triggering needs a job of a workflow with on: workflow_run",
}


def sources() -> str:
    """All text of the programs, with what stands between the parts of a broken string taken out."""
    files = [path for folder in ("proxy", "config", "action") for path in (ROOT / folder).rglob("*")]
    code = "\n".join(path.read_text() for path in files if path.suffix in {".py", ".mjs"})
    return re.sub(r"[\"'`]( \+)?\n\s*f?[\"'`]", "", code).replace('\\"', '"')


def test_every_message_of_the_page_is_one_that_the_programs_write() -> None:
    code = sources()
    messages = re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE) + re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE)
    parts = [part.strip(" .;:(),") for message in messages for part in re.split(r"…|`, `", message)]

    missing = [part for part in parts if part not in code and part not in COMPOSED]

    assert len(messages) > 25
    assert missing == []


def test_each_message_is_explained_once() -> None:
    messages = [each for heading in re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE) for each in heading.split("`, `")]

    assert sorted(messages) == sorted(set(messages))


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        # GitHub shows the state of workflows above the files of a repository
        for target, anchor in re.findall(r"\]\((?!http|\.\./\.\./actions/)([^)#]*)#?([^)]*)\)", page.read_text()):
            linked = (page.parent / target) if target else page
            assert linked.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}, anchor


def test_what_the_documentation_builds_with_zstd_has_media_types_that_every_client_knows() -> None:
    text = "\n".join(page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    outputs = re.findall(r"\S*type=image\S*", text)

    assert len(outputs) > 5
    assert [output for output in outputs if "oci-mediatypes=true" not in output] == []


def test_a_service_and_a_step_that_hands_over_a_session_are_written_once() -> None:
    text = "\n".join(page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

    assert len(re.findall(r"^ *services:$", text, re.MULTILINE)) == 1
    assert text.count("uses: actions/github-script") == 1


def test_dockerd_is_told_of_its_mirror_in_the_way_that_works_with_upstreams() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.yml")]
    mirrors = [each for page in pages for each in re.findall(r"registry-mirrors\": (.+?\])", page.read_text())]

    assert mirrors == ['["http://127.0.0.1:5000"]'] * 2
    assert not [page.name for page in pages if "systemctl restart docker" in page.read_text()]
