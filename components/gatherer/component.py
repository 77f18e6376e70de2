"""The interface of the component ``gatherer``."""

from typing import List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def gatherer(models: dsl.Input[List[dsl.Model]], output: dsl.Output[dsl.Model]):  # noqa: UP006
    """Makes one artifact of the networks that a loop trained: KFP hands no list to another loop.

    Args:
        models: from the component ``trainer``.
        output: all of them.
    """
    from ib_keras.components.base import parts, publish
    from ib_keras.components.gatherer import executor

    publish(output, executor.run(parts(*(model.path for model in models)), output.path))
