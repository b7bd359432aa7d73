"""`python -m notifier` is `ecs-watch`."""

from notifier.cli import main

raise SystemExit(main())
