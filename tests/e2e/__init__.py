"""What is deployed, as those judge it who deploy it: SAM, CloudFormation, cfn-lint and checkov."""
