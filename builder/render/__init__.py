"""From a row, its lock and its plan to the files of `images/<row>/`; pure, one module a target."""
