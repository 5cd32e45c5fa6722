"""Databases to spoil, as the integration tests have them."""

from tests.integration.conftest import baseline_template, project, project_of

__all__ = ["baseline_template", "project", "project_of"]
