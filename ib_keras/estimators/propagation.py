"""Sample propagation: I(X;T) and I(T;Y) of noisy networks, from Gaussian mixtures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ib_keras.arrays.checks import as_array, as_samples, check_count, check_positive, check_seed
from ib_keras.arrays.codes import entropy, row_codes
from ib_keras.arrays.labels import as_labels
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import Rows
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import BaseEstimator, check_memory, saturation
from ib_keras.estimators.monte_carlo import (
    Mean,
    Mixture,
    Propagations,
    average,
    check_scale,
    draws_each,
)
from ib_keras.interface import Estimate, LayerInformation, Traits


@dataclasses.dataclass(frozen=True)
class SamplePropagation(BaseEstimator):
    """I(X;T) = h(T) − E h(T|X) of a noisy network, T = S + N(0, β²I), by propagating samples.

    Given S = s_1…s_n, T has the density p̂(t) = (1/n) Σ_j φ_β(t − s_j), exactly known. Where S is a
    function of X, as in the first noisy layer, h(T|X) = (d/2) ln 2πeβ² and

        I(X;T) = −E ln Σ_j p(x_j) exp((|z|² − |βz + s − s_j|²/β²) / 2).

    In later layers S is random given X. Each of m inputs is propagated n_x times with fresh noise:
    p̂_i(t) = (1/n_x) Σ_k φ_β(t − s_ik), and

        I(X;T) = (1/m) Σ_i E_{t~p̂_i} ln p̂_i(t)/p̂(t),

    where p̂ holds p̂_i in the place of the input's own s. Both logarithms are taken at the same
    draws, so that what they share cancels and the value lies between 0 and H(X) but for the error
    of the draws. The bias of first order in 1/n_x is removed. If it is not known to which inputs
    the propagations belong, the two entropies are estimated apart, as in the paper.

    ``value`` is for X uniform on the rows that are given. ``stderr`` combines the errors of the
    Monte-Carlo draws, of the propagations, and of the choice of m inputs out of n. Flags:
    ``saturated`` within 1 % of H(X); ``high_dim`` when half of the inputs and of the propagations
    give a different estimate (by more than 3 standard errors). Then there are too few for this
    dimension, and the value describes these rows, not the distribution that they come from.

    Cost: n times the number of draws, in one fused pass; memory O(tile).

    Args:
        mc_draws: Monte-Carlo draws for each centre; ``None`` for as many as make some 32 000.
        propagations: n_x, where the estimator itself propagates: for a model as the source.
        conditional_inputs: m, there.
        population: the inputs are all that there are, not a sample; then only the number of
            propagations is halved for ``high_dim``.
        seed: of the draws.

    Raises:
        ArgumentError: an argument is invalid.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 3.
        Goldfeld, Greenewald & Polyanskiy, arXiv:1810.11589, eqs. 6, 7 and 14.
    """

    mc_draws: int | None = None
    propagations: int = 64
    conditional_inputs: int = 256
    population: bool = False
    seed: int = 0

    name: ClassVar[str] = "sp"

    def __post_init__(self) -> None:
        if self.mc_draws is not None:
            object.__setattr__(self, "mc_draws", check_count(self.mc_draws, "mc_draws"))
        for field, least in (("propagations", 2), ("conditional_inputs", 1)):
            object.__setattr__(self, field, check_count(getattr(self, field), field, least))
        object.__setattr__(self, "seed", check_seed(self.seed))

    @property
    def traits(self) -> Traits:
        """It needs S, and inputs that are propagated several times."""
        return Traits(propagations=True)

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """The most bytes that an estimate needs beside the samples."""
        draws = draws_each(self.mc_draws, n, dim)
        return 2 * TILES + n * draws * 64

    def estimate(
        self,
        t: np.ndarray,
        *,
        y: np.ndarray | Sequence | None = None,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
        conditional: np.ndarray | None = None,
        conditional_rows: np.ndarray | Sequence[int] | None = None,
    ) -> LayerInformation:
        """Estimates I(X;T) and I(T;Y).

        Args:
            t: ``(n, ...)`` S, the layer's outputs *before* its own noise, from one noisy pass.
            y: ``(n,)`` class labels, or ``(n, classes)`` one-hot.
            x: ``(n, ...)`` the inputs; ``None`` says that all n are distinct.
            noise_std: β, the standard deviation of the layer's own noise, > 0.
            conditional: ``(m, n_x, ...)`` S of m inputs, each propagated n_x times. ``None`` says
                that S is a function of X.
            conditional_rows: ``(m,)`` the rows of ``t`` that have these inputs; without it, all
                rows in order if m = n, else the distinct inputs in order of appearance if there
                are m, else unknown.

        Returns:
            I(X;T) and I(T;Y) in nats, with standard errors.

        Raises:
            ArgumentError: ``noise_std`` is 0, the shapes do not match, or S is not a function of X
                and there is no ``conditional``.
        """
        check_channel(noise_std)
        samples = as_samples(t)
        n, dim = samples.shape
        check_memory(self, n, dim, itemsize=samples.itemsize)
        labels = None if y is None else as_labels(y, n)
        codes = np.arange(n) if x is None else row_codes(as_array(x, "x"))
        data = Propagations.of(samples, noise_std, codes, labels, conditional, conditional_rows)
        whole = data.information(self.mc_draws, np.random.default_rng(self.seed))
        rng = np.random.default_rng([self.seed, 1])
        half = data.half(rng, halve_inputs=not self.population)
        other = (None, None) if half is None else half.information(self.mc_draws, rng)
        (xt, ty), (half_xt, half_ty) = whole, other
        flags = (*saturation(xt[0], n, entropy(codes)), *_high_dim(xt, half_xt))
        information = Estimate(*xt, flags=flags, n=n, dim=dim)
        if ty is None or labels is None:
            return LayerInformation(information)
        # Where every sample is alone, T tells H(Y) of any labels.
        alone = "saturated" in flags and bool(saturation(ty[0], n, entropy(labels)))
        flags = (*(("saturated",) if alone else ()), *_high_dim(ty, half_ty))
        return LayerInformation(information, Estimate(*ty, flags=flags, n=n, dim=dim))


def mixture_entropy(
    centres: np.ndarray,
    noise_std: float,
    *,
    mc_draws: int | None = None,
    weights: np.ndarray | None = None,
    seed: int = 0,
) -> Estimate:
    """The differential entropy of a Gaussian mixture, by Monte Carlo.

    h = (d/2) ln 2πeβ² − Σ_j w_j E_z ln Σ_l w_l exp((|z|² − |z + (s_j − s_l)/β|²) / 2): only what
    depends on the other centres is left to the draws.

    Args:
        centres: ``(n, ...)`` s, flattened to ``(n, d)``.
        noise_std: β > 0, the components' standard deviation.
        mc_draws: draws for each centre; ``None`` for as many as make some 32 000 in all.
        weights: ``(n,)`` positive weights w, which are normalised; ``None`` for equal ones.
        seed: of the draws, which NumPy makes: the result is the same on every device to 1e-4.

    Returns:
        h in nats, with its Monte-Carlo standard error.

    Raises:
        ArgumentError: an argument is invalid.

    References:
        Goldfeld, Greenewald & Polyanskiy, arXiv:1810.11589, eqs. 6 and 7, Theorem 5.
    """
    s = as_samples(centres, "centres", min_samples=1)
    check_channel(noise_std)
    n, dim = s.shape
    if mc_draws is not None:
        mc_draws = check_count(mc_draws, "mc_draws")
    w = np.full(n, 1 / n) if weights is None else np.asarray(weights, np.float64)
    if w.shape != (n,) or not (np.isfinite(w).all() and (w > 0).all()):
        raise ArgumentError(
            "`weights` are invalid", f"{n} positive numbers", f"shape {w.shape}, min {w.min()}"
        )
    check_scale(s, noise_std, "centres")
    w = w / w.sum()
    rng = np.random.default_rng(check_seed(seed))
    logs = Mixture(Rows.of(s).centred().divided(noise_std), w).logs(mc_draws, rng)[0]
    mean, error = average(logs, w, random=False)
    noise = dim / 2 * math.log(2 * math.pi * math.e * noise_std**2)
    return Estimate(noise - mean, error, n=n, dim=dim)


def _high_dim(mean: Mean, half: Mean | None) -> tuple[str, ...]:
    if half is None:
        return ()
    return ("high_dim",) if abs(mean[0] - half[0]) > 3 * math.hypot(mean[1], half[1]) else ()


def check_channel(noise_std: Any, *, random: bool = False) -> float:
    """``noise_std`` if it is positive.

    Args:
        noise_std: of the layer's channel.
        random: whether the network draws random numbers of its own.

    Raises:
        ArgumentError: it is 0 (the message says what that means), or no positive number.
    """
    zero = isinstance(noise_std, (int, float, np.number)) and noise_std == 0
    if not zero:
        return check_positive(noise_std, "noise_std")
    if random:
        raise ArgumentError(
            "Sample propagation needs Gaussian noise of a known standard deviation in each layer, "
            "and this network is random by draws of its own layers only",
            "noise_std > 0 (`ib_keras.instrument(model, noise_std=...)`), or an estimator that "
            "wants samples alone, such as 'ksg'",
            "noise_std=0",
        )
    raise ArgumentError(
        "Sample propagation needs noise: without it I(X;T) is infinite for continuous X and "
        "ln n for n distinct inputs, whatever the network has learned",
        "noise_std > 0 (`ib_keras.instrument(model, noise_std=...)`, trained with it), or for "
        "deterministic layers the clustering that 'ebab', 'binning', 'kde' and 'akde' measure",
        "noise_std=0",
    )
