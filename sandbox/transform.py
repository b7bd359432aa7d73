"""Our templates as plain CloudFormation, by the library that AWS's own SAM transform runs. Offline.

https://github.com/aws/serverless-application-model
"""

import copy
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

TEMPLATE = Path(__file__).parent.parent / "template.yaml"


def read_template(path: Path = TEMPLATE) -> dict[str, Any]:
    """Read the SAM template, its short forms (`!Ref`) written out."""
    template: dict[str, Any] = yaml_parse(path.read_text())
    return template


def plain_cloudformation(
    template: dict[str, Any], *, bucket: object, key: object
) -> dict[str, Any]:
    """Return what CloudFormation makes of `template`, with the functions' code at `bucket`/`key`.

    Both are strings or references such as `{"Ref": "CodeBucket"}`. Parameters stay parameters:
    the transform does not see their defaults, which it would write into the functions for good.
    Raises samtranslator's InvalidDocumentException for a template SAM refuses.
    """
    parameters = template["Parameters"]
    without_defaults = {
        name: {key: value for key, value in parameter.items() if key != "Default"}
        for name, parameter in parameters.items()
    }
    function = template["Globals"]["Function"] | {"CodeUri": {"Bucket": bucket, "Key": key}}
    source = template | {"Parameters": without_defaults, "Globals": {"Function": function}}
    return _translate(source) | {"Parameters": parameters}


def _translate(source: dict[str, Any]) -> dict[str, Any]:
    # The region only chooses the partition of managed policies, and the template uses none.
    session = boto3.Session(region_name="us-east-1")
    translator = Translator(None, Parser(), boto_session=session)
    plain: dict[str, Any] = translator.translate(copy.deepcopy(source), parameter_values={})
    translator.metrics.publish()  # to nobody; else it complains of them when it is cleared away
    return plain
