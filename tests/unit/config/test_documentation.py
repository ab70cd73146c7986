import re
from pathlib import Path

from config.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_of_settings_has_every_one_with_its_option_and_default() -> None:
    rows = re.findall(r"^\| `(RELAY_\w+)` \| `(--[\w-]+)` \| (.+?) \|", PAGE.read_text(), re.MULTILINE)

    expected = []
    for name, default in Settings().describe():
        option = "--" + name.removeprefix("RELAY_").lower().replace("_", "-")
        of_platform = "the platform's user data folder" if name == "RELAY_DATA" else None
        expected.append((name, option, of_platform or (default if default == "none" else f"`{default}`")))
    assert rows == expected
