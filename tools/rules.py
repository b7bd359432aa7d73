"""Write src/notifier/rules.json: template.yaml's rules, which the watcher compares with.

python -m tools.rules
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.transform import read_template

RULES = Path(__file__).parent.parent / "src" / "notifier" / "rules.json"


def rules_of(template: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return pattern or schedule of each rule, by logical id."""
    return {
        name: _rule(resource["Properties"])
        for name, resource in sorted(template["Resources"].items())
        if resource["Type"] == "AWS::Events::Rule"
    }


def _rule(properties: Mapping[str, Any]) -> dict[str, Any]:
    pattern, schedule = properties.get("EventPattern"), properties.get("ScheduleExpression")
    return {
        **({"pattern": pattern} if pattern else {}),
        **({"schedule": schedule} if schedule else {}),
    }


def main() -> None:
    """Write the file."""
    RULES.write_text(json.dumps(rules_of(read_template()), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
