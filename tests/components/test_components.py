"""What is declared is what the executors take; the interfaces themselves are in component.yaml."""

import inspect

import pytest

from ib_keras.components.capturer import executor as capturer_executor
from ib_keras.components.capturer.component import capturer
from ib_keras.components.clusterer import executor as clusterer_executor
from ib_keras.components.clusterer.component import clusterer
from ib_keras.components.decoder import executor as decoder_executor
from ib_keras.components.decoder.component import decoder
from ib_keras.components.ensembler import executor as ensembler_executor
from ib_keras.components.ensembler.component import ensembler
from ib_keras.components.examples import executor as examples_executor
from ib_keras.components.examples.component import examples
from ib_keras.components.trainer import executor as trainer_executor
from ib_keras.components.trainer.component import trainer


@pytest.mark.parametrize(
    ("component", "executor"),
    [
        (trainer, trainer_executor),
        (capturer, capturer_executor),
        (clusterer, clusterer_executor),
        (ensembler, ensembler_executor),
        (examples, examples_executor),
        (decoder, decoder_executor),
    ],
)
def test_defaults_are_the_executors(component, executor):
    signature = inspect.signature(executor.run).parameters
    for name, declared in component.component_spec.inputs.items():
        if declared.optional:
            # An empty text stands for none.
            assert (declared.default or None) == (signature[name].default or None), name
