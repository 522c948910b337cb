"""How many examples a test generates: few where slow tests are left out, all in `make test-all`."""

leave_out_slow = False  # set by conftest.py


def examples(few: int, all_of_them: int) -> int:
    """Return the number of examples for the run."""
    return few if leave_out_slow else all_of_them
