"""A stand-in for the databricks/databricks provider: the seed's resources, the documented calls.

Terraform starts it as a program and speaks plugin protocol 6 with it. It lets the shipped HCL be
applied where the official provider's binary is not at hand; with `PROA_TF_PROVIDER` the same tests
use that one.
"""

from __future__ import annotations

import os
import sys

from resources import Directory, Job, Notebook, Pipeline
from tf.iface import Provider
from tf.runner import run_provider
from tf.schema import Attribute, Schema
from tf.types import Number, String
from workspace import CallError, Workspace

_PATIENT = 300
"""Seconds of patience where the configuration sets none."""


class Databricks(Provider):
    def __init__(self):
        self._workspace = None

    def get_model_prefix(self):
        return "databricks_"

    def get_provider_schema(self, diags):
        return Schema(
            [
                Attribute("host", String(), optional=True),
                Attribute("token", String(), optional=True, sensitive=True),
                Attribute("retry_timeout_seconds", Number(), optional=True),
                Attribute("http_timeout_seconds", Number(), optional=True),
            ]
        )

    def full_name(self):
        return "registry.terraform.io/databricks/databricks"

    def validate_config(self, diags, config):
        pass

    def configure_provider(self, diags, config):
        try:
            self._workspace = Workspace(
                config["host"] or os.environ["DATABRICKS_HOST"],
                config["token"] or os.environ["DATABRICKS_TOKEN"],
                retry_seconds=config["retry_timeout_seconds"] or _PATIENT,
                http_seconds=config["http_timeout_seconds"] or _PATIENT,
            )
        except CallError as error:
            diags.add_error("cannot reach the workspace", str(error))

    def get_data_sources(self):
        return []

    def get_resources(self):
        return [Directory, Notebook, Pipeline, Job]

    def new_resource(self, klass):
        return klass(self._workspace)


if __name__ == "__main__":
    run_provider(Databricks(), sys.argv)
