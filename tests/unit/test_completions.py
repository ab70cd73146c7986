"""The completions for shells: they are those of the commands as they are, and a shell takes them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import require

ROOT = Path(__file__).parents[2]
COMPLETIONS = ROOT / "tools" / "completions"


def test_they_were_written_from_the_commands_as_they_are_now(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tools" / "write-completions", tmp_path], check=True)  # noqa: S603

    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text() for path in COMPLETIONS.iterdir()}, "run tools/write-completions"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["lo"], {"load"}),
        (["list", "--no"], {"--no-trunc"}),
        (["serve", "--log-f"], {"--log-format"}),
        (["serve", "--fr"], {"--from"}),
        (["serve", "--store", ""], {"auto", "directory", "actions"}),
        (["delete", "--d"], {"--dry-run"}),
    ],
)
def test_bash_completes_commands_options_and_values(words: list[str], wanted: set[str]) -> None:
    typed = " ".join(f"'{word}'" for word in ["image-relay", *words])
    script = (
        f"source '{COMPLETIONS}/image-relay.bash'; COMP_WORDS=({typed}); COMP_CWORD={len(words)}\n"
        f"$(complete -p image-relay | grep -oP '(?<=-F )\\S+') image-relay '{words[-1]}' ''\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )

    done = subprocess.run([require("bash"), "-c", script], capture_output=True, check=True, text=True)  # noqa: S603

    assert set(done.stdout.split()) == wanted
