"""Matplotlib figures of tables of estimates."""

from ib_keras.plot.clustering import activation_values, clusters, points_by_class
from ib_keras.plot.curves import layer_curves
from ib_keras.plot.ensembles import compression, ensemble_planes, scatter
from ib_keras.plot.planes import information_plane
from ib_keras.plot.samples import conditional_samples
from ib_keras.plot.truth import against_truth

__all__ = [
    "activation_values",
    "against_truth",
    "clusters",
    "compression",
    "conditional_samples",
    "ensemble_planes",
    "information_plane",
    "layer_curves",
    "points_by_class",
    "scatter",
]
