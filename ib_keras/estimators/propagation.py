"""Sample propagation: I(X;T) and I(T;Y) of noisy networks from Gaussian mixtures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ib_keras.arrays.checks import as_array, as_samples, check_count, check_positive, check_seed
from ib_keras.arrays.codes import entropy
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import Rows
from ib_keras.arrays.structures import array_codes
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import FromClasses, check_memory, saturation
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
class SamplePropagation(FromClasses):
    """I(X;T) = h(T) − E h(T|X) of a noisy network, T = S + N(0, β²I), by propagating samples.

    Given samples s_1…s_n of S, T has the known density p̂(t) = (1/n) Σ_j φ_β(t − s_j). If S is a
    function of X, as in the first noisy layer, then h(T|X) = (d/2) ln 2πeβ² and

        I(X;T) = −E ln Σ_j p(x_j) exp((|z|² − |βz + s − s_j|²/β²) / 2).

    In later layers, S is random given X. Each of m inputs is propagated n_x times with new noise:
    p̂_i(t) = (1/n_x) Σ_k φ_β(t − s_ik), and

        I(X;T) = (1/m) Σ_i E_{t~p̂_i} ln p̂_i(t)/p̂(t),

    where p̂ contains p̂_i instead of the input's own s. Both logarithms are averaged over the same
    draws, so that their common error cancels and the value is between 0 and H(X) except for the
    error of the draws. The bias of first order in 1/n_x is removed. If the inputs of the
    propagations are unknown, the two entropies are estimated separately, as in the paper.

    ``value`` is for X uniform on the samples. ``stderr`` combines the errors from the Monte-Carlo
    draws, from the propagations, and from the choice of m inputs out of n. Flags: ``saturated`` if
    the value is within 1 % of H(X); ``high_dim`` if half of the inputs and of the propagations give
    a different estimate, by more than 3 standard errors. In that case there are too few samples for
    this dimension, and the value describes these samples but not their distribution.

    Cost: n times the number of draws, in one fused pass, with memory for one tile.

    Args:
        mc_draws: number of Monte-Carlo draws for each centre; ``None`` for about 32 000 in total.
        propagations: n_x, if the source is a model and the estimator propagates samples itself.
        conditional_inputs: m, in the same case.
        population: whether the inputs are the whole population rather than a sample. If so, only
            the number of propagations is halved for ``high_dim``.
        seed: seed of the draws.
        target_bins: number of cells of equal counts into which a Y of numbers is divided.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 3.
        Goldfeld, Greenewald & Polyanskiy, arXiv:1810.11589, eqs. 6, 7 and 14.
    """

    mc_draws: int | None = None
    propagations: int = 64
    conditional_inputs: int = 256
    population: bool = False
    seed: int = 0
    target_bins: int = 10

    name: ClassVar[str] = "sp"

    def __post_init__(self) -> None:
        if self.mc_draws is not None:
            object.__setattr__(self, "mc_draws", check_count(self.mc_draws, "mc_draws"))
        for field, least in (("propagations", 2), ("conditional_inputs", 1)):
            object.__setattr__(self, field, check_count(getattr(self, field), field, least))
        object.__setattr__(self, "seed", check_seed(self.seed))
        self.check_target_bins()

    @property
    def traits(self) -> Traits:
        """The estimator needs S, and inputs that are propagated several times."""
        return Traits(propagations=True)

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
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
        """Estimate I(X;T) and I(T;Y).

        Args:
            t: S, the layer's outputs *before* its own noise, from one noisy pass, ``(n, ...)``.
            y: class labels, ``(n,)``, or one-hot ``(n, classes)``; or numbers, ``(n,)`` or
                ``(n, k)``, which are divided into ``target_bins`` classes of equal counts.
            x: the inputs, ``(n, ...)``; ``None`` if all n are distinct.
            noise_std: β, the standard deviation of the layer's own noise, > 0.
            conditional: S of m inputs, each propagated n_x times, ``(m, n_x, ...)``; ``None`` if S
                is a function of X.
            conditional_rows: rows of ``t`` that have these inputs, ``(m,)``. By default, these are
                all rows in order if m = n, the distinct inputs in order of appearance if there are
                m of them, and unknown otherwise.

        Returns:
            I(X;T) and I(T;Y) in nats, with standard errors.

        Raises:
            ArgumentError: If ``noise_std`` is 0, the shapes do not match, or S is not a function
                of X and ``conditional`` is missing.
        """
        check_channel(noise_std)
        samples = as_samples(t)
        n, dim = samples.shape
        check_memory(self, n, dim, itemsize=samples.itemsize)
        labels, binned = self.classes(y, n)
        codes = np.arange(n) if x is None else array_codes([as_array(x, "x")], n, "x")
        data = Propagations.of(samples, noise_std, codes, labels, conditional, conditional_rows)
        xt, ty = data.information(self.mc_draws, np.random.default_rng(self.seed))
        rng = np.random.default_rng([self.seed, 1])
        half = data.half(rng, halve_inputs=not self.population)
        half_xt, half_ty = (None, None) if half is None else half.information(self.mc_draws, rng)
        flags = (*saturation(xt[0], n, entropy(codes)), *_high_dim(xt, half_xt))
        information = Estimate(*xt, flags=flags, n=n, dim=dim)
        if ty is None or labels is None:
            return LayerInformation(information)
        # If all samples are separate, I(T;Y) is H(Y) for any labels.
        separate = "saturated" in flags and bool(saturation(ty[0], n, entropy(labels)))
        flags = (*(("saturated",) if separate else ()), *_high_dim(ty, half_ty), *binned)
        return LayerInformation(information, Estimate(*ty, flags=flags, n=n, dim=dim))


def mixture_entropy(
    centres: np.ndarray,
    noise_std: float,
    *,
    mc_draws: int | None = None,
    weights: np.ndarray | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate the differential entropy of a Gaussian mixture by Monte Carlo.

    h = (d/2) ln 2πeβ² − Σ_j w_j E_z ln Σ_l w_l exp((|z|² − |z + (s_j − s_l)/β|²) / 2). Only the
    second term is estimated from draws.

    Args:
        centres: the centres s, ``(n, ...)``, flattened to ``(n, d)``.
        noise_std: β > 0, the standard deviation of the components.
        mc_draws: number of draws for each centre; ``None`` for about 32 000 in total.
        weights: positive weights w, ``(n,)``, which are normalised; ``None`` for equal weights.
        seed: seed of the draws. NumPy generates them, so the result is equal to 1e-4 on all
            devices.

    Returns:
        h in nats, with its Monte-Carlo standard error.

    Raises:
        ArgumentError: If an argument is invalid.

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
    """Return ``noise_std`` if it is positive.

    Args:
        noise_std: standard deviation of the layer's noise.
        random: whether the network's own layers draw random numbers.

    Raises:
        ArgumentError: If ``noise_std`` is not a positive number.
    """
    zero = isinstance(noise_std, (int, float, np.number)) and noise_std == 0
    if not zero:
        return check_positive(noise_std, "noise_std")
    if random:
        raise ArgumentError(
            "Sample propagation needs Gaussian noise of a known standard deviation in each layer, "
            "and this network is random by draws of its own layers only",
            "noise_std > 0 (`ib_keras.instrument(model, noise_std=...)`), or an estimator that "
            "needs only samples, such as 'ksg'",
            "noise_std=0",
        )
    raise ArgumentError(
        "Sample propagation needs noise: without it I(X;T) is infinite for continuous X and "
        "ln n for n distinct inputs, whatever the network has learned",
        "noise_std > 0 (`ib_keras.instrument(model, noise_std=...)`, trained with it), or for "
        "deterministic layers the clustering that 'ebab', 'binning', 'kde' and 'akde' measure",
        "noise_std=0",
    )
