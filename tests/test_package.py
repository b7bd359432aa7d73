"""What is packaged is the program and nothing else."""

import json
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


def test_both_stacks_are_made_for_whoever_has_no_sam(built: Path) -> None:
    main(str(built), str(built.parent / "dist"))
    made = {path.name for path in (built.parent / "dist").iterdir()}
    assert made == {
        "ecs-watch.zip",
        "ecs-watch.template.json",
        "ecs-watch-tasks.template.json",
    }
    tasks = json.loads((built.parent / "dist" / "ecs-watch-tasks.template.json").read_text())
    assert {"CodeBucket", "CodeKey", "TaskFamilies"} <= set(tasks["Parameters"])
