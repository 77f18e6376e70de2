"""The interface of the component ``gatherer``."""

from typing import List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def gatherer(models: dsl.Input[List[dsl.Model]], output: dsl.Output[dsl.Model]):  # noqa: UP006
    """Combine the networks that a loop trained, because KFP cannot pass a list to another loop.

    Args:
        models: networks, from the component ``trainer``.
        output: one artifact with all networks.
    """
    from ib_keras.components.base import parts, publish
    from ib_keras.components.gatherer import executor

    publish(output, executor.run(parts(*(model.path for model in models)), output.path))
