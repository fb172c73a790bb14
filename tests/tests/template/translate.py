"""Translates a SAM template and its mutants as SAM does when they are deployed: without a network, an account or a region
that matters.

Reads {"template": text, "mutants": [edit, ...]} and writes a list: first the template's own translation, then, for each
mutant, {"translated": ...} or {"refused": why}. An edit that changes nothing is a mistake, and ends it all.
"""

import copy
import json
import logging
import os
import sys

os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
answers, sys.stdout = sys.stdout, sys.stderr
logging.disable()  # the translator misses an account to send its figures to

import yaml  # noqa: E402
from samtranslator.model.exceptions import InvalidDocumentException  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import intrinsics_multi_constructor  # noqa: E402


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Knows the short forms of functions: !Ref and its like."""


Loader.add_multi_constructor("!", intrinsics_multi_constructor)


# What nobody but the one who deploys the variant by alias says; SAM wants to know it.
RELEASE = {"Release": "1"}


class NoManagedPolicies:
    def load(self):
        return {}


def read(text):
    return yaml.load(text, Loader)


def place(document, path):
    """What holds the end of the path, and the key there."""
    node = document
    for name in path[:-1]:
        node = node[int(name)] if isinstance(node, list) else node[name]
    last = path[-1]
    return node, int(last) if isinstance(node, list) and last != "-" else last


def edited(document, edit):
    document = copy.deepcopy(document)
    node, key = place(document, edit["path"])
    operation = edit["operation"]
    if operation == "add":
        if isinstance(node, list):
            node.append(read(edit["value"]))
        else:
            assert key not in node, f"{edit}: it is there"
            node[key] = read(edit["value"])
        return document
    before = node[key]  # fails if it is not there
    if operation == "remove":
        del node[key]
    elif operation == "set":
        node[key] = read(edit["value"])
        assert node[key] != before, f"{edit}: it is so already"
    else:
        text = json.dumps(before)
        assert operation == "swap" and edit["from"] in text, f"{edit}: nothing to swap"
        node[key] = json.loads(text.replace(edit["from"], edit["value"]))
        assert node[key] != before, f"{edit}: it is so already"
    return document


def translated(document):
    document = copy.deepcopy(document)
    for resource in document["Resources"].values():
        properties = resource.get("Properties", {})
        if "CodeUri" in properties:
            properties["CodeUri"] = f"s3://code/{properties['CodeUri']}"  # as `sam package` leaves it
    try:
        return {"translated": transform(document, RELEASE, NoManagedPolicies())}
    except InvalidDocumentException as error:
        return {"refused": f"{error.message} {[cause.message for cause in error.causes]}"}


asked = json.load(sys.stdin)
template = read(asked["template"])
json.dump([translated(document) for document in [template, *(edited(template, edit) for edit in asked["mutants"])]], answers)
