"""Options of the whole test suite."""

from __future__ import annotations

import pytest
from hypothesis import settings

# What an example may cost in time says more about the machine's other work than about the code.
settings.register_profile("tulle", deadline=None)
settings.load_profile("tulle")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite what tests/golden expects")
