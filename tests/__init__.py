"""The tests, by room; an assertion of a helper shows its values as a test's own does."""

import pytest

pytest.register_assert_rewrite("tests.golden.snapshots", "tests.processes")
