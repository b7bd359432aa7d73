"""Shows at the end of the run what the tests noted with `record_property("size", ...)`.

Whatever a test prints is lost where several processes run them.
"""

from typing import Any

import pytest


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    for report in terminalreporter.stats.get("passed", []):
        for name, text in report.user_properties:
            if name == "size":
                terminalreporter.write_line(str(text))
