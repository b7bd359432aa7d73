"""What is packaged is the program and nothing else."""

from pathlib import Path

import pytest

from tools.package import main, strangers


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A build as small as can be."""
    for name in ("notifier/handler.py", "templates/root.j2", "boto3/session.py"):
        path = tmp_path / "built" / name
        path.parent.mkdir(parents=True)
        path.write_text("x = 1\n")
    return tmp_path / "built"


def test_the_program_and_its_libraries_are_no_strangers(built: Path) -> None:
    assert strangers(built) == []


@pytest.mark.parametrize("name", ["tests", "sandbox", "notifier/__pycache__", "boto3/tests"])
def test_tests_and_what_is_left_of_running_are_not_shipped(built: Path, name: str) -> None:
    (built / name).mkdir()

    assert strangers(built) == [name]
    with pytest.raises(SystemExit, match=f"Not to be shipped: {name}"):
        main(str(built), str(built.parent / "dist"))
    assert not (built.parent / "dist").exists()
