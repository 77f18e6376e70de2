"""The items of a pipeline's loop, as texts."""

from __future__ import annotations

import json

from ib_keras.errors import ArgumentError

# The variable with a fingerprint of the user's files that the arguments of a task name.
FILES_VARIABLE = "IB_KERAS_FILES"


def items(text: str) -> list[str]:
    """Split an item of a pipeline's loop, which is a JSON list if a large grid was grouped.

    Args:
        text: a model, an estimator, …; or a JSON list of these.

    Returns:
        One or more texts.

    Raises:
        ArgumentError: If ``text`` starts with ``[`` but is not JSON.
    """
    if not text.lstrip().startswith("["):
        return [text]
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError("An item does not parse", "a JSON list", error) from None
    return [item if isinstance(item, str) else json.dumps(item) for item in parsed]
