"""An AWS account and a Slack workspace on this machine: for the demo and the tests end to end."""
