import json

import numpy as np
import pytest

import ib_keras
from ib_keras import estimators
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import BaseEstimator
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


def test_estimators_need_not_be_dataclasses():
    class Scaled(BaseEstimator):
        name = "scaled"

        def __init__(self, scale=2.0):
            self.scale = scale

        def estimate(self, t, *, y=None, x=None, noise_std=0.0, conditional=None):
            return LayerInformation(Estimate(self.scale * float(np.mean(t)), n=len(t), dim=1))

        def get_config(self):
            return {"scale": self.scale}

    class Plain(Scaled):
        name = "plain"
        get_config = BaseEstimator.get_config

    assert str(Scaled(3.0)) == "scaled(scale=3.0)"
    table = ib_keras.estimate({"a": np.ones((9, 1))}, Scaled())
    assert table["estimator"].tolist() == ["scaled(scale=2.0)"] and table["value"].tolist() == [2]
    assert str(type("Bare", (BaseEstimator,), {})()) == "Bare"
    with pytest.raises(NotImplementedError, match="Plain needs a method `get_config`"):
        Plain().get_config()


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


def test_seeds_of_numpy_can_be_written():
    for made in (estimators.KSG(k=np.int64(4)), estimators.NormalizingFlow(seed=np.int64(1))):
        again = estimators.get(estimators.to_json(made))
        assert again == made
