import keras
import numpy as np

from ib_keras.training.batches import batches, in_order


def test_every_epoch_has_its_order_and_each_row_once():
    a, b = np.arange(24)[:, None] * np.ones(3), np.arange(24)
    keras.utils.set_random_seed(0)
    data, steps = batches((a, b), 7, 5, range(4))
    assert steps == 3
    rows = [pair for pair in data.as_numpy_iterator()]
    assert len(rows) == 12
    assert all(x.shape == (7, 3) and (x[:, 0] == y).all() for x, y in rows)
    orders = np.array([y for _, y in rows]).reshape(4, 21)
    assert all(len(set(order)) == 21 for order in orders)
    assert len(set(map(tuple, orders))) == 4
    # By seed and epoch alone: not by the state of the process, or by where it begins.
    keras.utils.set_random_seed(1)
    later = [y for _, y in batches((a, b), 7, 5, range(2, 4))[0].as_numpy_iterator()]
    np.testing.assert_array_equal(np.concatenate(later), orders[2:].ravel())
    other = [y for _, y in batches((a, b), 7, 6, range(4))[0].as_numpy_iterator()]
    assert (np.concatenate(other) != orders.ravel()).any()


def test_few_rows_and_multiples():
    data, steps = batches((np.arange(5),), 64, 0, range(1))
    assert steps == 1
    assert sorted(next(data.as_numpy_iterator())[0]) == [0, 1, 2, 3, 4]
    assert batches((np.arange(100),), 9, 0, range(2), multiple=4)[1] == 8


def test_in_order_leaves_no_row_out():
    a, b = np.arange(10)[:, None] * np.ones(3), np.arange(10)
    parts = list(in_order((a, b), 4).as_numpy_iterator())
    assert [len(part) for part, _ in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), a)
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), b)
