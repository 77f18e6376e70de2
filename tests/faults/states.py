"""What is there to read, as plain values that can be compared."""

import numpy as np

import ib_keras as ib


def of_store(path):
    """All that a store's readers return: name → bytes or values."""
    store = ib.ActivationStore(path)
    found = {
        ("x",): flat(store.inputs()),
        ("y",): flat(store.targets()),
        ("r",): flat(store.rows()),
        ("c",): flat(store.input_codes()),
    }
    found["layers", store.n, store.draws, store.run] = store.layers
    for epoch in store.epochs:
        found["logs", epoch] = store._epoch(epoch)["logs"]
        found["noise", epoch] = store.noise_std(epoch), sorted(store.random(epoch))
        for layer in store.layers:
            for clean in (False, True):
                found[epoch, layer, clean] = flat(store.read(epoch, layer, clean))
            found["extent", epoch, layer] = store.extent(epoch, layer)
            repeated = store.propagations(epoch, layer)
            found["repeated", epoch, layer] = repeated and tuple(map(flat, repeated))
    found["missing",] = store.missing
    return found


def of_table(path):
    """A table's columns but the one that says how long it took."""
    table = ib.load(path).drop(columns="seconds")
    found = {name: table[name].tolist() for name in table.columns}
    return {name: [None if v != v else v for v in values] for name, values in found.items()}


def of_npz(path):
    with np.load(path, allow_pickle=False) as saved:
        return {name: flat(saved[name]) for name in saved.files}


def flat(array):
    return None if array is None else (array.shape, str(array.dtype), array.tobytes())


def leftovers(folder):
    return [str(p) for p in folder.rglob(".*.tmp")]
