"""The interface of the component ``trainer``."""

from kfp import dsl

from ib_keras.components.base import component


@component
def trainer(
    examples: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Model],
    model: str = "szt",
    epochs: int = 100,
    batch_size: int = 256,
    learning_rate: float = 0.001,
    noise_std: float = 0.0,
    record: str = "log",
    recipe: str = "{}",
    seed: int = 0,
):
    """Train a Keras model and save checkpoints.

    Args:
        examples: the data set, from the component ``examples``.
        output: a .keras file for each recorded epoch, and the logs.
        model: a name ("szt", "mlp", "mnist_cnn"), JSON with its parameters
            ({"name": "szt", "activation": "relu"}), a .keras file, or "module:function";
            or a JSON list of these. JSON with {"checkpoints": "run/*.keras"} is a training that
            took place elsewhere: it is not repeated, and "pattern" and "logs" may describe it.
        epochs: number of epochs.
        batch_size: number of samples per training step.
        learning_rate: the (largest) learning rate.
        noise_std: standard deviation of the noise in the hidden layers, in the unit of the
            activations. A "noise_std" in the model's JSON takes precedence.
        record: which epochs get a checkpoint: "log", or a step or list of epochs in JSON.
        recipe: JSON object with any of "optimizer", "momentum", "nesterov", "weight_decay",
            "schedule" ("constant" or "cosine"), "warmup_epochs", "label_smoothing", "augment" and
            "precision", such as {"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine",
            "augment": ["flip", "crop"]}. By default, Adam with a constant learning rate. A "recipe"
            and a "learning_rate" in the model's JSON take precedence.
        seed: seed of the initial weights, the order of the batches and the noise. A "seed" in the
            model's JSON takes precedence.
    """
    from ib_keras.components.base import each, items, publish
    from ib_keras.components.trainer import executor

    publish(
        output,
        each(
            lambda folder, identifier: executor.run(
                examples.path,
                folder,
                model=identifier,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=float(learning_rate),
                noise_std=float(noise_std),
                record=record,
                recipe=recipe,
                seed=seed,
            ),
            output.path,
            items(model),
        ),
    )
