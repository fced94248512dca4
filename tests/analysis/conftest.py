import pytest


@pytest.fixture(autouse=True)
def as_users_run_studies(without_shape_checks: None) -> None:
    """Here all is trained from end to end, over and over: half of the time would go into the checks."""
