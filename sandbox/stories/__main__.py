"""Writes every story's file."""

from sandbox import stories
from sandbox.story import STORIES

if __name__ == "__main__":
    STORIES.mkdir(parents=True, exist_ok=True)
    for name, text in stories.texts().items():
        (STORIES / f"{name}.json").write_text(text)
