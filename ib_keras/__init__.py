"""Information-plane analysis of Keras networks.

    noisy = ib_keras.instrument(model, noise_std=0.05)
    noisy.fit(x, y, callbacks=[ib_keras.Recorder("runs/mine", inputs=x, targets=y)])
    frame = ib_keras.estimate("runs/mine", ["ebab", "kde"])
    ib_keras.plot.information_plane(frame)

Modules are imported on first use, so importing this package does not import TensorFlow.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.metadata
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ib_keras.activations import Activations as Activations
    from ib_keras.activations import ActivationStore as ActivationStore
    from ib_keras.callbacks.backup import Backup as Backup
    from ib_keras.callbacks.recorder import Recorder as Recorder
    from ib_keras.callbacks.replay import replay as replay
    from ib_keras.estimation.calibrate import Calibration as Calibration
    from ib_keras.estimation.calibrate import calibrate as calibrate
    from ib_keras.estimation.estimate import estimate as estimate
    from ib_keras.estimation.mutual_information import mutual_information as mutual_information
    from ib_keras.frame import load as load
    from ib_keras.frame.comparison import compare as compare
    from ib_keras.instrumentation.model import InstrumentedModel as InstrumentedModel
    from ib_keras.instrumentation.model import instrument as instrument
    from ib_keras.interface import Estimate as Estimate
    from ib_keras.interface import LayerInformation as LayerInformation
    from ib_keras.interface import MutualInformation as MutualInformation

try:
    __version__ = importlib.metadata.version("ib-keras")
except importlib.metadata.PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0.0.0"

# By default, hide messages of TensorFlow's runtime: INFO, WARNING and ERROR on a machine without an
# NVIDIA GPU, only INFO on others. TensorFlow prints some messages before it reads this variable: a
# WARNING of absl, and the INFO lines about oneDNN and about missing CUDA drivers.
# TF_ENABLE_ONEDNN_OPTS=0 would hide the line about oneDNN, but it changes numerical results.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1" if os.path.exists("/dev/nvidiactl") else "3")

_OBJECTS = {
    "ActivationStore": "ib_keras.activations",
    "Activations": "ib_keras.activations",
    "Backup": "ib_keras.callbacks.backup",
    "Calibration": "ib_keras.estimation.calibrate",
    "Estimate": "ib_keras.interface",
    "InstrumentedModel": "ib_keras.instrumentation.model",
    "LayerInformation": "ib_keras.interface",
    "MutualInformation": "ib_keras.interface",
    "Recorder": "ib_keras.callbacks.recorder",
    "calibrate": "ib_keras.estimation.calibrate",
    "compare": "ib_keras.frame.comparison",
    "estimate": "ib_keras.estimation.estimate",
    "instrument": "ib_keras.instrumentation.model",
    "load": "ib_keras.frame",
    "mutual_information": "ib_keras.estimation.mutual_information",
    "replay": "ib_keras.callbacks.replay",
}
_MODULES = (
    "clustering", "compression", "constraints", "datasets", "ensembles", "errors", "estimators",
    "frame", "layers", "models", "pixelcnn", "plot", "regularizers", "report", "studies",
    "synthetic", "views",
)  # fmt: skip

__all__ = sorted([*_OBJECTS, *_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _OBJECTS:
        value = getattr(importlib.import_module(_OBJECTS[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"ib_keras.{name}")
    else:
        raise AttributeError(f"module 'ib_keras' has no attribute {name!r}")
    globals()[name] = value
    return value


class _WithKeras(importlib.abc.MetaPathFinder):
    """Registers this package's layers and models with Keras when Keras is imported.

    ``keras.models.load_model`` can then load them.
    """

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                _register()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _register() -> None:
    # The import fails if Keras has another backend.
    with contextlib.suppress(ImportError):
        importlib.import_module("ib_keras.instrumentation.model")


if "keras" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _WithKeras())


def __dir__() -> list[str]:
    return list(__all__)
