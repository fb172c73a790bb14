#!/usr/bin/env python3
"""Prints a variant of template.yaml that deploys by alias: CodeDeploy sends a part of the work to the new build first, and
all of it back to the old one if an alarm goes off. docs/upgrading.md says when that is worth it.

    python3 docs/canary.py > canary.yaml
    sam build --template-file canary.yaml
    sam deploy --parameter-overrides AuthMode=iam Release=$(date +%s) Rollout=Canary10Percent5Minutes

A script and no parameter of the template, since SAM takes neither a condition nor an empty text at AutoPublishAlias.
"""

import pathlib
import re
import sys

TEMPLATE = pathlib.Path(__file__).parents[1] / "template.yaml"

PARAMETER = """\
  Rollout:
    Description: How CodeDeploy moves the work from the old build to the new one.
    Type: String
    AllowedValues:
      - Canary10Percent5Minutes
      - Canary10Percent10Minutes
      - Canary10Percent15Minutes
      - Canary10Percent30Minutes
      - Linear10PercentEvery1Minute
      - Linear10PercentEvery2Minutes
      - Linear10PercentEvery3Minutes
      - Linear10PercentEvery10Minutes
      - AllAtOnce
    Default: Canary10Percent5Minutes
  Release:
    Description: A new one makes a new version of each function, of its code and of its settings; $(date +%s), say.
    Type: String
    AllowedPattern: ^[0-9A-Za-z]{1,10}$
    ConstraintDescription: must be 1 to 10 letters and digits.
"""

GLOBALS = """\
    AutoPublishAlias: live
"""

# By itself SAM makes a new version when the code is another, but not when a parameter is: the alias would go on with the
# settings of before.
PREFERENCE = """\
      AutoPublishCodeSha256: !Ref Release
      DeploymentPreference:
        Type: !Ref Rollout
        Alarms: [!Ref {alarm}]
"""

# More impatient than the alarms for people: within a minute. Each looks at one function alone, since a function may not
# wait for what waits for it. Of the API what clients see counts; an invocation that fails is answered 5xx.
ALARM = """\
  {name}:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmDescription: >-
        A rollout is taken back. What to do: docs/upgrading.md, Canary.
      Namespace: {namespace}
      MetricName: {metric}
      Dimensions: [{{ Name: {dimension}, Value: !Ref {value} }}]
      Statistic: Sum
      Period: 60
      EvaluationPeriods: 1
      ComparisonOperator: GreaterThanThreshold
      Threshold: 0
      TreatMissingData: notBreaching

"""

FUNCTIONS = {
    "ApiFunction": "Accepts jobs and shows them.",
    "WorkerFunction": "Runs jobs.",
    "SweeperFunction": "Announces again, or ends, whatever is overdue.",
    "EventsFunction": "Counts what jobs did, and tells who wants to know.",
}


def replaced(text, old, new):
    """The text with what stands in it once replaced. Anything else is a template that this script does not know."""
    if text.count(old) != 1:
        sys.exit(f"canary.py: template.yaml has {text.count(old)} times, not once: {old!r}")
    return text.replace(old, new)


def alarm_of(function):
    """The name of a function's alarm, and its text."""
    name = function.replace("Function", "Rollout")
    if function == "ApiFunction":
        metric = {"namespace": "AWS/ApiGateway", "metric": "5xx", "dimension": "ApiId", "value": "HttpApi"}
    else:
        metric = {"namespace": "AWS/Lambda", "metric": "Errors", "dimension": "FunctionName", "value": function}
    return name, ALARM.format(name=name, **metric)


def canary(template):
    """The variant of this template."""
    template = replaced(template, "\nRules:\n", f"{PARAMETER}\nRules:\n")
    handler = "    Handler: bootstrap # the name cargo-lambda gives the binary\n"
    template = replaced(template, handler, handler + GLOBALS)
    alarms = ""
    for function, description in FUNCTIONS.items():
        name, alarm = alarm_of(function)
        line = f"      Description: {description}\n"
        template = replaced(template, line, line + PREFERENCE.format(alarm=name))
        alarms += alarm
    dashboard = "  # --- Dashboard ---"
    template = replaced(template, dashboard, alarms + dashboard)
    # Whatever calls the API's function calls the alias; events of the others SAM sends there by itself.
    template = replaced(template, "IntegrationUri: !GetAtt ApiFunction.Arn\n", "IntegrationUri: !Ref ApiFunction.Alias\n")
    template = replaced(template, "FunctionName: !Ref ApiFunction\n", "FunctionName: !Ref ApiFunction.Alias\n")
    # A function follows when the rollouts of those before it are over, and not only begun.
    return re.sub(r"(?m)^    DependsOn: .*", lambda line: re.sub(r"Function\b", "FunctionAliaslive", line[0]), template)


if __name__ == "__main__":
    sys.stdout.write(canary(TEMPLATE.read_text(encoding="utf-8")))
