"""The same tests for every driver of a contract: fakes and real ones alike."""

import pytest

pytest.register_assert_rewrite(
    "tests.contract.directories", "tests.contract.edges", "tests.contract.gateways", "tests.contract.outside"
)
