"""Settings as people type them: what is no text is refused before the file is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd.configfile import change_setting
from syncd.errors import ConfigError


def test_value_that_is_no_text_is_refused_and_nothing_written(tmp_path: Path) -> None:
    """A terminal or a script with another character set gives such."""
    with pytest.raises(ConfigError) as refused:
        change_setting(tmp_path, "device.name", "caf\udce9")
    assert refused.value.id == "SY-USE-01"
    assert list(tmp_path.iterdir()) == []
    change_setting(tmp_path, "device.name", "café")
    assert (tmp_path / "config.toml").read_text("utf-8") == '[device]\nname = "café"\n'
