"""Rows of inputs in any form that Keras accepts; they are read in batches as often as needed."""

from ib_keras.examples.data_set import DataSet as DataSet
from ib_keras.examples.data_set import check_orders as check_orders
from ib_keras.examples.data_set import is_data_set as is_data_set
from ib_keras.examples.data_set import of as of
from ib_keras.examples.rows import Examples as Examples
from ib_keras.examples.rows import InMemory as InMemory
from ib_keras.examples.rows import fingerprint as fingerprint
