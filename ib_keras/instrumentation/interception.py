"""Interception of the outputs of a model's layers, for the duration of a ``with`` block.

``Layer.__call__`` looks up ``self.call`` at every call. While a ``Session`` is open, the layers
that it watches have an instance attribute ``call`` that passes the output to the sessions of the
*same thread*; in other threads it only runs the layer's own ``call``. Inside a ``tf.function`` this
happens while the function is traced, so the compiled program contains the intercepted outputs, and
the model itself is unchanged. The attribute is removed when the last session that watches the layer
is closed; one that the layer had before is restored. The lock is held only to set and remove the
attribute, never while a model runs, because the replicas of a distribution strategy wait for each
other inside a call.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

_lock = threading.Lock()
_watchers: dict[int, int] = {}
# The instance attributes that layers had before they were watched.
_own: dict[tuple[int, str], Any] = {}
_local = threading.local()
_METHODS = ("call", "quantized_call")

# A layer that is called, and the positional and keyword arguments of the call.
Arguments = tuple[keras.Operation, tuple, dict[str, Any]]
OnOutput = Callable[[str, keras.Operation, tuple, dict[str, Any], Any], Any]


class Session:
    """Calls ``on_output`` for each call of one of ``layers`` during the ``with`` block.

    Args:
        layers: the layers to watch.
        on_output: function of the name of the call, the layer, the positional and the keyword
            arguments, and the output; its result replaces the output. The name is the path of the
            watched layers that are being called, such as ``encoder/dense``; from the second call
            of the same path on it has a suffix, ``encoder/dense:1``.
        root: a model that the block may call several times. Each of its calls restarts the count,
            and its name is not part of the paths.
        on_call: function of the positional and the keyword arguments, which runs before each call.
    """

    def __init__(
        self,
        layers: Iterable[keras.Operation],
        on_output: OnOutput,
        root: keras.Model | None = None,
        on_call: Callable[[tuple, dict[str, Any]], None] | None = None,
    ) -> None:
        self._layers = {id(layer): layer for layer in layers}
        self._root = root
        if root is not None:
            self._layers[id(root)] = root
        self._on_output, self._on_call = on_output, on_call
        self._open: list[Arguments] = []
        self._calls: Counter[str] = Counter()

    @property
    def holders(self) -> tuple[keras.Operation, ...]:
        """The watched layers whose calls are in progress, the outermost first."""
        return tuple(layer for layer, _, _ in self._open)

    @property
    def arguments(self) -> tuple[Arguments, ...]:
        """The calls in progress, the outermost first: layer, positional and keyword arguments."""
        return tuple(self._open)

    def __enter__(self) -> Session:
        with _lock:
            for key, layer in self._layers.items():
                if not _watchers.get(key):
                    for method in _METHODS:
                        # Keras runs `quantized_call` of quantized layers instead of `call`.
                        if method == "call" or getattr(layer, "quantization_mode", None):
                            replaced = _dispatcher(layer, method)
                            if method in layer.__dict__:
                                _own[key, method] = layer.__dict__[method]
                            layer.__dict__[method] = replaced
                _watchers[key] = _watchers.get(key, 0) + 1
        _sessions().append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _sessions().remove(self)
        with _lock:
            for key, layer in self._layers.items():
                _watchers[key] -= 1
                if not _watchers[key]:
                    del _watchers[key]
                    for method in _METHODS:
                        layer.__dict__.pop(method, None)
                        if (key, method) in _own:
                            layer.__dict__[method] = _own.pop((key, method))

    def intercept(
        self, layer: keras.Operation, proceed: Callable, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call a layer through ``proceed``, and pass its output to ``on_output``."""
        if layer is self._root:
            self._open, self._calls = [], Counter()
            return proceed(*args, **kwargs)
        self._open.append((layer, args, kwargs))
        if self._on_call is not None:
            self._on_call(args, kwargs)
        path = "/".join(part.name for part in self.holders)
        try:
            output = proceed(*args, **kwargs)
        finally:
            self._open.pop()
        index = self._calls[path]
        self._calls[path] += 1
        name = f"{path}:{index}" if index else path
        return self._on_output(name, layer, args, kwargs, output)

    def watches(self, layer: keras.Operation) -> bool:
        """Return whether this session watches ``layer``."""
        return id(layer) in self._layers


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Suspend all interception in this thread inside the ``with`` block."""
    open_sessions, _local.sessions = _sessions(), []
    try:
        yield
    finally:
        _local.sessions = open_sessions


def _sessions() -> list[Session]:
    if not hasattr(_local, "sessions"):
        _local.sessions = []
    return _local.sessions


def _dispatcher(layer: keras.Operation, method: str) -> Callable:
    original = getattr(layer, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        proceed = original
        # The session that was opened last intercepts the layer's output first.
        for session in reversed([s for s in _sessions() if s.watches(layer)]):
            proceed = functools.partial(session.intercept, layer, proceed)
        return proceed(*args, **kwargs)

    return call
