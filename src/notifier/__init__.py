"""ecs-watch: every Amazon ECS deployment that fails in an account is told in Slack."""

__version__ = "0.1.0"
