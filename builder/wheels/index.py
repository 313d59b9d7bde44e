"""Extra indexes: the matrix knows their names, the environment their addresses."""

from __future__ import annotations

import os

from builder.errors import BadInputError, Fault


def extra_index(name: str, place: str) -> str:
    """The address of the index that the matrix calls `name`, from `CUVEE_INDEX_<NAME>`.

    Args:
        name: Its name in the matrix, such as `pytorch-cu121`.
        place: Where it is named, for the error.

    Raises:
        BadInputError: The environment does not know it.
    """
    variable = f"CUVEE_INDEX_{name.upper().replace('-', '_')}"
    if address := os.environ.get(variable):
        return address
    raise BadInputError(
        Fault(
            place=place,
            cause=f"the address of index {name!r} is not known; the matrix never holds addresses",
            fix=f"Set {variable} to it",
        )
    )
