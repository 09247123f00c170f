"""Prints the objects of YAML files as JSON, a list for each file. Those of custom kinds must be as their definitions say, with no other keys."""

import json
import sys

import yaml
from cloudcoil.models.cert_manager import v1 as cert_manager
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus

MODELS = {
    "Certificate": cert_manager.Certificate,
    "Issuer": cert_manager.Issuer,
    "ScaledObject": keda.ScaledObject,
    "ServiceMonitor": prometheus.ServiceMonitor,
    "PrometheusRule": prometheus.PrometheusRule,
}
# Newer than the models.
KNOWN = {("ScaledObject", "spec.fallback.behavior")}


def keys(value, path=""):
    if isinstance(value, dict):
        for key, below in value.items():
            at = f"{path}.{key}" if path else key
            yield at
            yield from keys(below, at)
    elif isinstance(value, list):
        for below in value:
            yield from keys(below, path)


def check(thing):
    kind = thing["kind"]
    model = MODELS.get(kind)
    if model is None:
        if "." in thing["apiVersion"].split("/")[0] and ".k8s.io" not in thing["apiVersion"]:
            sys.exit(f"no definition of {thing['apiVersion']} {kind} is known")
        return
    read = model.model_validate(thing).model_dump(mode="json", by_alias=True, exclude_none=True)
    odd = {key for key in set(keys(thing)) - set(keys(read)) if (kind, key) not in KNOWN}
    if odd:
        sys.exit(f"{kind} {thing['metadata']['name']}: unknown keys {sorted(odd)}")


files = []
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        files.append([thing for thing in yaml.safe_load_all(file) if thing])
for thing in (thing for things in files for thing in things):
    check(thing)
json.dump(files, sys.stdout)
