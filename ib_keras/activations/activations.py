"""Activations in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np


class Activations(Mapping[str, np.ndarray]):
    """A mapping of the tapped layers' names to their outputs, float32 ``(n, *shape)``.

    The layers are in the order of the taps.

    Args:
        arrays: layer name → array ``(n, *shape)``, or ``(draws, n, *shape)`` with several draws.
        noise_std: layer name → standard deviation of the network's noise in that layer; layers
            that are not in this mapping have no noise.
        clean: whether the arrays are the outputs before each layer's own noise.
        random: the layers whose output before their own noise is random given the input.
        views: layer name → name of the view that was captured in place of the output; layers that
            are not in this mapping have the view ``"flat"``.
        masks: layer name → ``(n, positions)``, which marks the valid positions of each sample, for
            layers with the view ``"positions"``.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        *,
        noise_std: Mapping[str, float] | None = None,
        clean: bool = False,
        random: Collection[str] = (),
        views: Mapping[str, str] | None = None,
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._arrays = dict(arrays)
        self.views = {k: view for k, view in (views or {}).items() if k in self._arrays}
        self.masks = {k: mask for k, mask in (masks or {}).items() if k in self._arrays}
        self.noise_std = {name: (noise_std or {}).get(name, 0.0) for name in self._arrays}
        self.clean = clean
        self.random = frozenset(random) & self._arrays.keys()

    def __getitem__(self, layer: str) -> np.ndarray:
        try:
            return self._arrays[layer]
        except KeyError:
            raise KeyError(f"no layer {layer!r}; there are {list(self._arrays)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def flat(self, draws: int) -> Activations:
        """Merge the axis of several draws into the axis of the samples.

        Args:
            draws: the number of draws; with one draw there is no axis to merge.
        """
        arrays = {name: merge_draws(array, draws) for name, array in self._arrays.items()}
        return Activations(
            arrays,
            noise_std=self.noise_std,
            clean=self.clean,
            random=self.random,
            views=self.views,
            masks={name: merge_draws(mask, draws) for name, mask in self.masks.items()},
        )

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(array.nbytes for array in self._arrays.values())

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {array.shape}" for name, array in self._arrays.items())
        return f"Activations({shapes}; {self.nbytes / 1e6:.1f} MB)"


def merge_draws(array: np.ndarray, draws: int) -> np.ndarray:
    """Merge the axis of several draws, if there is one, into the axis of the samples."""
    return array if draws == 1 else array.reshape(-1, *array.shape[2:])
