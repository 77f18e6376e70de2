"""Pairs of variables whose mutual information is known exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, gammaln, ndtr

from ib_keras.arrays.checks import check_bool, check_count, check_positive, check_seed
from ib_keras.errors import ArgumentError

Pair = tuple[np.ndarray, np.ndarray]


def correlated_gaussians(n: int, dim: int, mi: float, *, rotate: bool = False, seed: int) -> Pair:
    """Draw jointly normal X and Y, ``dim`` independent pairs of correlation √(1 − e^{−2·mi/dim}).

    With ``rotate``, X and Y are multiplied by orthogonal matrices, which are drawn independently
    and uniformly. This does not change I(X;Y) and the marginals, N(0, I), but each coordinate of X
    then depends on all coordinates of Y.

    Args:
        n: number of samples.
        dim: dimension of X, and of Y.
        mi: I(X;Y) in nats.
        rotate: whether to rotate X and Y at random.
        seed: integer seed.

    Returns:
        x and y, each ``(n, dim)`` float64.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 4.
    """
    n, dim, mi, rng = _check(n, dim, mi, seed)
    rho2 = -math.expm1(-2 * mi / dim)
    x, noise = rng.normal(size=(n, dim)), rng.normal(size=(n, dim))
    y = math.sqrt(rho2) * x + math.sqrt(1 - rho2) * noise
    if check_bool(rotate, "rotate"):
        x, y = x @ _rotation(dim, rng), y @ _rotation(dim, rng)
    return x, y


def _rotation(dim: int, rng: np.random.Generator) -> np.ndarray:
    """Draw an orthogonal matrix from the uniform distribution of all orthogonal matrices."""
    q, r = np.linalg.qr(rng.normal(size=(dim, dim)))
    return q * np.sign(np.diag(r))  # the signs make the factorisation unique


def correlated_uniforms(n: int, dim: int, mi: float, *, rotate: bool = False, seed: int) -> Pair:
    """Draw ``correlated_gaussians`` and map them to uniform variables on [0, 1].

    The map is the normal distribution function, so I(X;Y) is the same.

    Args:
        n: number of samples.
        dim: dimension of X, and of Y.
        mi: I(X;Y) in nats.
        rotate: whether to rotate the normal variables at random.
        seed: integer seed.

    Returns:
        x and y, each ``(n, dim)`` float64.
    """
    x, y = correlated_gaussians(n, dim, mi, rotate=rotate, seed=seed)
    return ndtr(x), ndtr(y)


def student_t(n: int, dim: int, mi: float, *, dof: float = 3.0, seed: int) -> Pair:
    """Draw X and Y with a joint Student-t distribution: normal pairs divided by a common √(χ²/dof).

    I(X;Y) = I of the normal pairs + c(dof) + c(dof + 2·dim) − 2 c(dof + dim), with
    c(d) = ln Γ(d/2) − (d/2) ψ(d/2). Heavy tails make X and Y dependent even without correlation.

    Args:
        n: number of samples.
        dim: dimension of X, and of Y.
        mi: I(X;Y) in nats, at least that of uncorrelated pairs.
        dof: degrees of freedom.
        seed: integer seed.

    Returns:
        x and y, each ``(n, dim)`` float64.

    Raises:
        ArgumentError: If ``mi`` is less than that of uncorrelated pairs.
    """
    n, dim, mi, rng = _check(n, dim, mi, seed)
    dof = check_positive(dof, "dof")

    def c(d: float) -> float:
        return float(gammaln(d / 2) - d / 2 * digamma(d / 2))

    tails = c(dof) + c(dof + 2 * dim) - 2 * c(dof + dim)
    if mi < tails:
        raise ArgumentError(
            "`mi` is below the information that the heavy tails alone give "
            f"(dof={dof:g}, dim={dim})",
            f"mi >= {tails:.6g}",
            mi,
        )
    x, y = correlated_gaussians(n, dim, mi - tails, seed=int(rng.integers(2**31)))
    scale = np.sqrt(rng.chisquare(dof, size=(n, 1)) / dof)
    return x / scale, y / scale


def smoothed_uniforms(n: int, dim: int, mi: float, *, seed: int) -> Pair:
    """Draw X uniform on [0, 1] and Y = X + U(−ε, ε) in each coordinate.

    I is ε − ln 2ε for ε ≤ ½, else 1/(4ε), for each of ``dim`` independent pairs of coordinates.

    Args:
        n: number of samples.
        dim: dimension of X, and of Y.
        mi: I(X;Y) in nats, > 0.
        seed: integer seed.

    Returns:
        x and y, each ``(n, dim)`` float64.
    """
    n, dim, mi, rng = _check(n, dim, mi, seed, positive=True)
    each = mi / dim
    width = (
        1 / (4 * each)
        if each <= 0.5
        else float(brentq(lambda e: e - math.log(2 * e) - each, 1e-300, 0.5, xtol=1e-300))
    )
    x = rng.uniform(size=(n, dim))
    return x, x + rng.uniform(-width, width, size=(n, dim))


def log_gamma_exponential(n: int, dim: int, mi: float, *, seed: int) -> Pair:
    """Draw X = ln of a Gamma(1/θ) variable, and Y = ln of an exponential variable of rate e^X.

    I is ψ(1/θ) + θ + ln θ for each of ``dim`` independent pairs of coordinates. Both coordinates of
    a pair are skewed, and neither is normal given the other.

    Args:
        n: number of samples.
        dim: dimension of X, and of Y.
        mi: I(X;Y) in nats; for each dimension, it must be at least 1e-12.
        seed: integer seed.

    Returns:
        x and y, each ``(n, dim)`` float64.

    Raises:
        ArgumentError: If ``mi`` is too small.
    """
    n, dim, mi, rng = _check(n, dim, mi, seed, positive=True)
    if mi / dim < 1e-12:
        raise ArgumentError("`mi` is too small", "at least 1e-12 nats for each dimension", mi / dim)

    def gap(log_theta: float) -> float:
        theta = math.exp(log_theta)
        return float(digamma(1 / theta)) + theta + log_theta - mi / dim

    shape = math.exp(-brentq(gap, -30.0, mi / dim + 2))
    # ln Gamma(s) = ln Gamma(s + 1) + ln(U)/s does not underflow for small s.
    x = np.log(rng.gamma(shape + 1, size=(n, dim))) + np.log(rng.uniform(size=(n, dim))) / shape
    y = np.log(rng.exponential(size=(n, dim))) - x
    return x, y


def gaussian_images(n: int, size: int, mi: float, *, rotate: bool = True, seed: int) -> Pair:
    """Draw pairs of images of a blob at random positions u and v with known I(u;v).

    Pixels are exp(−10((g_x − u₁)² + (g_y − u₂)²)) on [0, 1]², with u and v from
    ``correlated_uniforms``. The map from a position to its image is invertible, so I(X;Y) = I(u;v).

    Args:
        n: number of samples.
        size: height and width of the images, at least 4.
        mi: I(X;Y) in nats.
        rotate: whether to rotate the normal variables of which u and v are made, as in the paper.
        seed: integer seed.

    Returns:
        Two ``(n, size, size, 1)`` float32 arrays.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 4.
    """
    return _images(_blobs, 2, n, size, mi, rotate, seed)


def correlated_blob_images(n: int, size: int, mi: float, *, rotate: bool = True, seed: int) -> Pair:
    """Draw pairs of images of an elliptic blob at random positions, of random widths and slant.

    Pixels are exp(−10((1 + u₃)² p² + (1 + u₄)² q² + (2u₅ − 1)(1 + u₃)(1 + u₄) p q)) with
    p = g_x − u₁ and q = g_y − u₂. I(X;Y) is the known information of the five numbers.

    Args:
        n: number of samples.
        size: height and width of the images, at least 4.
        mi: I(X;Y) in nats.
        rotate: whether to rotate the normal variables of which u and v are made, as in the paper.
        seed: integer seed.

    Returns:
        Two ``(n, size, size, 1)`` float32 arrays.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 4.
    """
    return _images(_slanted, 5, n, size, mi, rotate, seed)


def rectangle_images(n: int, size: int, mi: float, *, rotate: bool = True, seed: int) -> Pair:
    """Draw pairs of images of a filled rectangle with random position and sides.

    I(X;Y) is the known information of the four numbers that determine a rectangle. Its sides are at
    least 2 pixels; a pixel's value is the share of the pixel that is covered.

    Args:
        n: number of samples.
        size: height and width of the images, at least 4.
        mi: I(X;Y) in nats.
        rotate: whether to rotate the normal variables of which u and v are made, as in the paper.
        seed: integer seed.

    Returns:
        Two ``(n, size, size, 1)`` float32 arrays.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 4.
    """
    return _images(_rectangles, 4, n, size, mi, rotate, seed)


def hidden_pairs(n: int, size: int, mi: float, *, rotate: bool = True, seed: int) -> Pair:
    """Draw pairs of vectors that linear compression with the least squared error makes independent.

    The vector of a number u has the coordinates max(a_c, a_c·c/10) with a_c = (2u − 1) + c·Z for
    c = 2 … size − 1, where Z is uniform on [−1, 1] and independent; the first two are 2u − 1 and Z.
    Nearly all of the variance is that of Z, so principal components keep Z and lose u, although two
    of them explain 99.99 % of the variance. I(X;Y) = I(u;v), because the first coordinate is a
    function of u, and Z is independent.

    Args:
        n: number of samples.
        size: number of coordinates, at least 4.
        mi: I(X;Y) in nats.
        rotate: as for the other pairs; a rotation of a single number is at most a change of sign.
        seed: integer seed.

    Returns:
        Two ``(n, size)`` float32 arrays.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, Statement 2.
    """
    rng = np.random.default_rng([check_seed(seed), 1])

    def drowned(u: np.ndarray, size: int) -> np.ndarray:
        known, z = 2 * u[:, 0] - 1, rng.uniform(-1, 1, size=len(u))
        c = np.arange(size)
        sums = known[:, None] + z[:, None] * c
        return np.column_stack([known, z, np.maximum(sums, sums * c / 10)[:, 2:]]).astype(
            np.float32
        )

    return _images(drowned, 1, n, size, mi, rotate, seed)


def _images(draw: Any, dim: int, n: int, size: int, mi: float, rotate: bool, seed: int) -> Pair:
    size = check_count(size, "size", 4)
    u, v = correlated_uniforms(n, dim, mi, rotate=rotate, seed=seed)
    return draw(u, size), draw(v, size)


def _blobs(u: np.ndarray, size: int) -> np.ndarray:
    grid = np.linspace(0, 1, size)
    across, down = (np.exp(-10 * np.square(grid - u[:, i, None])) for i in (0, 1))
    return (down[:, :, None] * across[:, None, :]).astype(np.float32)[..., None]


def _slanted(u: np.ndarray, size: int) -> np.ndarray:
    grid = np.linspace(0, 1, size)
    p, q = ((1 + u[:, i + 2, None]) * (grid - u[:, i, None]) for i in (0, 1))
    product = (2 * u[:, 4, None, None] - 1) * q[:, :, None] * p[:, None, :]
    form = np.square(q)[:, :, None] + np.square(p)[:, None, :] + product
    return np.exp(-10 * form).astype(np.float32)[..., None]


def _rectangles(u: np.ndarray, size: int) -> np.ndarray:
    least = 2 / size
    pixels = np.arange(size)
    covered = []
    for i in (0, 2):
        # The interval is uniform over all intervals of at least the length ``least``.
        begin = (1 - least) * (1 - np.sqrt(1 - u[:, i]))
        end = begin + least + u[:, i + 1] * (1 - begin - least)
        low, high = (size * side[:, None] for side in (begin, end))
        covered.append(np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None))
    across, down = covered
    return (down[:, :, None] * across[:, None, :]).astype(np.float32)[..., None]


def _check(
    n: int, dim: int, mi: float, seed: int, *, positive: bool = False
) -> tuple[int, int, float, np.random.Generator]:
    is_number = isinstance(mi, (int, float, np.number)) and not isinstance(mi, bool)
    if not is_number or not 0 <= mi < math.inf or (positive and mi == 0):
        expected = "a finite number " + ("> 0" if positive else ">= 0")
        raise ArgumentError("`mi` is invalid", expected, repr(mi))
    rng = np.random.default_rng(check_seed(seed))
    return check_count(n, "n"), check_count(dim, "dim"), float(mi), rng
