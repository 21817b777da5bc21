"""The packages have common names: whatever stands in front of one is told."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_folder_in_front_of_a_package_is_told(tmp_path: Path) -> None:
    (tmp_path / "rl").mkdir()
    (tmp_path / "rl" / "__init__.py").write_text("")
    told = subprocess.run(
        [sys.executable, "-m", "studies", "parts"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 2
    assert f"the package 'rl' is found at {tmp_path / 'rl'}" in told.stderr
