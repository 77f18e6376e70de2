"""Tables of estimates: columns, units, files, curves and seeds."""

from ib_keras.frame.curves import compression, phases, smoothed
from ib_keras.frame.files import (
    ESTIMATES,
    LOGS,
    SCHEMA,
    VERSION,
    load,
    read_logs,
    read_parquet,
    write,
)
from ib_keras.frame.seeds import over_seeds, over_seeds_of_truth, seed_groups, without_seed
from ib_keras.frame.table import (
    COLUMNS,
    NOT_ESTIMATED,
    OPTIONAL,
    check_unit,
    columns,
    concat,
    convert,
    count_not_estimated,
    from_rows,
    validate,
    with_attrs,
)

__all__ = [
    "COLUMNS", "ESTIMATES", "LOGS", "NOT_ESTIMATED", "OPTIONAL", "SCHEMA", "VERSION", "check_unit",
    "columns", "compression", "concat", "convert", "count_not_estimated", "from_rows", "load",
    "over_seeds", "over_seeds_of_truth", "phases", "read_logs", "read_parquet", "seed_groups",
    "smoothed", "validate", "with_attrs", "without_seed", "write",
]  # fmt: skip
