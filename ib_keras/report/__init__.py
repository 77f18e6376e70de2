"""The report: one HTML page that works offline."""

from ib_keras.report.html_page import (
    ADVICE,
    FLAGS,
    Section,
    last_epoch_table,
    last_epoch_text,
    write,
)

__all__ = ["ADVICE", "FLAGS", "Section", "last_epoch_table", "last_epoch_text", "write"]
