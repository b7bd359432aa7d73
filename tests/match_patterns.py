"""Say which event patterns are valid and what they match. Runs under .venv-sandbox's Python.

MiniStack's matcher was chosen because it agrees with AWS's own engine (aws/event-ruler); it pins
botocore and so lives in an environment of its own.

Standard input:  {"patterns": {name: pattern}, "events": {name: event}}
Standard output: {"errors": {pattern's name: why}, "matches": {event's name: [pattern's name]}}
"""

import json
import sys

from ministack.services import eventbridge  # type: ignore[import-not-found]


def main() -> None:
    asked = json.load(sys.stdin)
    patterns = {name: json.dumps(pattern) for name, pattern in asked["patterns"].items()}
    errors = {
        name: why
        for name, pattern in patterns.items()
        if (why := eventbridge._event_pattern_error(pattern))
    }
    matches = {
        name: [
            rule
            for rule, pattern in patterns.items()
            if rule not in errors and eventbridge._matches_pattern(pattern, payload)
        ]
        for name, event in asked["events"].items()
        if (payload := eventbridge._event_from_test_payload(event))
    }
    json.dump({"errors": errors, "matches": matches}, sys.stdout)


if __name__ == "__main__":
    main()
