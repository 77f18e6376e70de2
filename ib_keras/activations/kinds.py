"""The kinds of arrays that are captured from a layer."""

# T; S, before the layer's own noise; S of some rows, propagated many times.
NOISY, CLEAN, PROPAGATED = "noisy", "clean", "propagated"
# The parameters of a declared p(T|X), mean and standard deviation; and the valid positions.
MEAN, SCALE, MASK = "mean", "scale", "mask"
ALL = (NOISY, CLEAN, PROPAGATED, MEAN, SCALE, MASK)
