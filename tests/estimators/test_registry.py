import json

import numpy as np
import pytest

from ib_keras import estimators
from ib_keras.errors import ArgumentError
from ib_keras.interface import Estimate, Estimator, LayerInformation


def test_every_name_makes_an_estimator_that_survives_its_config():
    assert {"binning", "ebab", "kde", "akde"} <= set(estimators.names())
    for name in estimators.names():
        made = estimators.get(name)
        assert isinstance(made, Estimator)
        assert estimators.get(estimators.to_json(made)) == made


def test_identifiers():
    made = estimators.KDE(0.1, kind="lower")
    assert estimators.get(made) is made
    assert estimators.get("kde", variance=0.1, kind="lower") == made
    assert estimators.get({"name": "kde", "variance": 0.1, "kind": "lower"}) == made
    assert estimators.get(json.dumps({"name": "kde", "variance": 0.1, "kind": "lower"})) == made
    assert estimators.get(estimators.KDE, variance=0.1, kind="lower") == made
    assert estimators.get(made, kind="upper") == estimators.KDE(0.1)
    ranged = estimators.Binning(range=(-1, 1))
    assert estimators.get(estimators.to_json(ranged)) == ranged


def test_labels_name_what_differs_from_the_defaults():
    assert str(estimators.EBAB()) == "ebab"
    assert str(estimators.KDE(0.1, kind="lower")) == "kde(variance=0.1, kind=lower)"


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ArgumentError, match="'ebab'.*Received: 'ebba'"):
        estimators.get("ebba")
    with pytest.raises(ArgumentError, match="variance"):
        estimators.get("kde", bandwidth=1)
    with pytest.raises(ArgumentError, match="does not parse"):
        estimators.get('{"name": ')
    with pytest.raises(ArgumentError):
        estimators.get(None)


def test_users_can_register_their_own():
    class Mine:
        name = "my_own"

        def estimate(self, t, *, y=None, x=None, noise_std=0.0, conditional=None):
            return LayerInformation(Estimate(float(np.mean(t)), n=len(t), dim=1))

        def get_config(self):
            return {}

    try:
        estimators.register(Mine)
        assert isinstance(estimators.get("my_own"), Mine)
        with pytest.raises(ArgumentError, match="taken"):
            estimators.register(type("Other", (Mine,), {}))
    finally:
        estimators._REGISTRY.pop("my_own", None)
    with pytest.raises(ArgumentError, match="not an estimator"):
        estimators.register(int)
