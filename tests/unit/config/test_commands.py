"""Arguments of commands that contradict each other, or lack something."""

import pytest

from config.commands import parse


@pytest.mark.parametrize(
    ("command", "arguments", "advice"),
    [
        ("save", [], "name an image to send, or a tarball with --file"),
        ("save", ["app:v1", "app:v2", "--file", "x.tar"], "give one name for the tarball, or none"),
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
        ("list", ["app:v1"], "unrecognized arguments: app:v1; list takes no names\n"),
        ("prune", ["app:v1"], "; prune takes no names; to delete an image use delete\n"),
        ("list", ["--password", "x"], "; set RELAY_PASSWORD instead\n"),
        ("load", ["app:v1", "-o", "x.tar"], "; did you mean --file?\n"),
        ("save", ["--input", "x.tar", "app:v1"], "; did you mean --file?\n"),
        ("delete", ["app:v1", "--force"], "unrecognized arguments: --force\n"),
        ("list", ["-o", "json"], "unrecognized arguments: -o json\n"),
        ("health", ["--slow-probe", "-1"], "argument --slow-probe: "),
        ("health", ["--slow-probe", "nan"], "'nan' should be a time such as 90s"),
        ("health", ["--slow-probe", "inf"], "'inf' should be a time such as 90s"),
        ("health", ["--slow-probe", "9" * 400], "should be a time such as 90s"),
        ("wait", ["app:v1", "--timeout", "9" * 400], "should be a time such as 90s"),
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
