"""What programs write in place of a value that they hide or cut, each in its own words.

Gathered from the programs, not from ours: what is missing in the rules of `asked` shows here.
"""

HIDDEN = (
    # Records of CloudTrail
    "HIDDEN_DUE_TO_SECURITY_REASONS",
    "<sensitiveDataRemoved>",
    "***",
    # CloudFormation, NoEcho: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html
    "*****",
    # AWS SDK for Java 2, toString of what a model calls sensitive
    "*** Sensitive Data Redacted ***",
    # Rails, config.filter_parameters: https://guides.rubyonrails.org/configuring.html
    "[FILTERED]",
    # Sentry, its data scrubber: https://docs.sentry.io/security-legal-pii/scrubbing/
    "[Filtered]",
    # GitLab CI, masked variables: https://docs.gitlab.com/ci/variables/
    "[MASKED]",
    # Terraform: https://developer.hashicorp.com/terraform/language/values/outputs
    "(sensitive value)",
    "<sensitive>",
    # Pulumi: https://www.pulumi.com/docs/iac/concepts/secrets/
    "[secret]",
    # kubectl config view
    "REDACTED",
    "DATA+OMITTED",
    # Ansible, no_log
    "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER",
    # Pydantic, SecretStr: https://docs.pydantic.dev/latest/api/types/
    "**********",
    # Pino: https://github.com/pinojs/pino/blob/main/docs/redaction.md
    "[Redacted]",
    # Go, net/url, URL.Redacted: https://pkg.go.dev/net/url#URL.Redacted
    "postgres://app:xxxxx@db/app",
    # in prose
    "(hidden value)",
    "<redacted>",
    "[value removed]",
)
CUT = (
    "[truncated 200 bytes]",
    "[200 bytes truncated]",
    "report --all...",
    "report --all…",
    "report --a… (truncated)",
    "<truncated>",
    # Node.js, util.inspect: https://nodejs.org/api/util.html
    "report... 200 more characters",
    # Go and others
    "report --all (200 bytes omitted)",
)
# What only looks like it, and is somebody's command or setting.
HARMLESS = (
    "--filter=(a|b)",
    '["hidden", "removed"]',
    '{"masked": "secret"}',
    "select * from masked_users where removed is null",
    "s3://bucket/**/*.csv",
    "(cd /srv/app && rake filtered:import)",
    'psql -c "$(cat truncated)"; echo ${masked}',
    "psql $(cat masked)",
    "[[ -f /tmp/hidden ]] && echo secret",
    "<html><p>removed</p></html>",
    "0 * * * *",
    "--exclude-hidden",
    "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf",
    "a..b",
    "truncate table jobs",
    "hidden",
)
