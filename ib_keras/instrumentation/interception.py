"""Sees, and may change, what the layers inside a model return, for the length of a ``with`` block.

``Layer.__call__`` looks up ``self.call`` at every call. While a ``Session`` is open, the layers
that it watches have an instance attribute ``call`` that asks the sessions open *in the same thread*
what to do, and otherwise runs the layer's own ``call``. Inside a ``tf.function`` this happens while
it is traced, so that the compiled program holds the result and nothing stays on the model. The
attribute is counted: it is there as long as any session watches the layer, and other threads that
call the layer meanwhile get what they always got. The lock is held to install and remove it only,
never while a model runs: replicas of a distribution strategy wait for each other inside a call.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import keras

_lock = threading.Lock()
_watchers: dict[int, int] = {}
_local = threading.local()
_METHODS = ("call", "quantized_call")

OnOutput = Callable[[str, keras.Operation, tuple, Any], Any]


class Session:
    """Calls ``on_output`` for each call of one of ``layers`` while the ``with`` block runs.

    Args:
        layers: the layers to watch.
        on_output: called with the name of the call, the layer, all its arguments (positional ones,
            then those by name) and its output; what it returns becomes the output. The name is the
            path of the watched layers that are being called, ``encoder/dense``, and from the second
            call of the same path on a suffix, ``encoder/dense:1``.
        root: a model whose calls begin the count anew and are no part of the names, where the block
            calls it several times.
    """

    def __init__(
        self,
        layers: Iterable[keras.Operation],
        on_output: OnOutput,
        root: keras.Model | None = None,
    ) -> None:
        self._layers = {id(layer): layer for layer in layers}
        self._root = root
        if root is not None:
            self._layers[id(root)] = root
        self._on_output = on_output
        self._path: list[keras.Operation] = []
        self._calls: Counter[str] = Counter()

    @property
    def holders(self) -> tuple[keras.Operation, ...]:
        """The watched layers inside whose calls a layer is being called, the outermost first."""
        return tuple(self._path)

    def __enter__(self) -> Session:
        with _lock:
            for key, layer in self._layers.items():
                if not _watchers.get(key):
                    for method in _methods(layer):
                        layer.__dict__[method] = _dispatcher(layer, method)
                _watchers[key] = _watchers.get(key, 0) + 1
        _sessions().append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _sessions().remove(self)
        with _lock:
            for key, layer in self._layers.items():
                _watchers[key] -= 1
                if not _watchers[key]:
                    del _watchers[key]
                    for method in _METHODS:
                        layer.__dict__.pop(method, None)

    def intercept(
        self, layer: keras.Operation, proceed: Callable, args: tuple, kwargs: dict
    ) -> Any:
        """Runs the call by ``proceed`` and hands its output to ``on_output``."""
        if layer is self._root:
            self._path, self._calls = [], Counter()
            return proceed(*args, **kwargs)
        self._path.append(layer)
        path = "/".join(part.name for part in self._path)
        try:
            output = proceed(*args, **kwargs)
        finally:
            self._path.pop()
        index = self._calls[path]
        self._calls[path] += 1
        given = (*args, *kwargs.values())
        return self._on_output(f"{path}:{index}" if index else path, layer, given, output)

    def watches(self, layer: keras.Operation) -> bool:
        """Whether this session watches ``layer``."""
        return id(layer) in self._layers


def _sessions() -> list[Session]:
    if not hasattr(_local, "sessions"):
        _local.sessions = []
    return _local.sessions


def _methods(layer: keras.Operation) -> list[str]:
    """What ``__call__`` may run of a layer: a quantized one has another ``call``."""
    return [m for m in _METHODS if m == "call" or getattr(layer, "quantization_mode", None)]


def _dispatcher(layer: keras.Operation, method: str) -> Callable:
    original = getattr(layer, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        proceed = original
        # The session opened last sees the layer's own output first.
        for session in reversed([s for s in _sessions() if s.watches(layer)]):
            proceed = _through(session, layer, proceed)
        return proceed(*args, **kwargs)

    return call


def _through(session: Session, layer: keras.Operation, proceed: Callable) -> Callable:
    return lambda *args, **kwargs: session.intercept(layer, proceed, args, kwargs)
