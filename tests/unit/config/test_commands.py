"""Arguments of commands that contradict each other, or lack something."""

import pytest

from config.commands import parse


@pytest.mark.parametrize(
    ("command", "arguments", "advice"),
    [
        ("save", [], "name an image to send, or a tarball with --file"),
        ("save", ["app:v1", "app:v2", "--file", "x.tar"], "a tarball goes under one name"),
        ("delete", [], "name the images to delete, or use --all, but not both"),
        ("delete", ["app:v1", "--all"], "name the images to delete, or use --all, but not both"),
        ("save", ["--file", "x.tar", "app:dev=app:v1"], "= does not go with --file, since a file has no name in the "),
        ("save", ["--file", "x.tar", "app:dev=app:v1"], "; write app:v1 alone"),
        ("delete", ["*"], "* is not an image; to delete all images use --all"),
        ("delete", ["app:v1", "*"], "to delete all images use --all"),
        ("list", ["--prot", "5001"], "unrecognized arguments: --prot 5001; did you mean --port?"),
        ("wait", ["app:v1", "--timout=2s"], "did you mean --timeout?"),
        ("load", ["app:v1", "--platfrom", "linux/arm64"], "did you mean --platform?"),
        ("delete", ["app:v1", "--dryrun"], "did you mean --dry-run?"),
        ("list", ["app:v1"], "unrecognized arguments: app:v1\n"),
        ("wait", ["app:v1", "--timeout", "-1"], "should be a time such as 90s"),
    ],
)
def test_mistakes_end_with_advice(
    command: str, arguments: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(command, arguments)

    assert ended.value.code == 2
    assert advice in capsys.readouterr().err
