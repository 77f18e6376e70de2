"""The kinds of arrays that are captured from a layer."""

# T, the layer's output; S, the output before the layer's own noise; and S of a few rows that are
# propagated many times.
NOISY, CLEAN, PROPAGATED = "noisy", "clean", "propagated"
# The mean and the standard deviation of a p(T|X) that the layer declares; and the valid positions
# of the view "positions".
MEAN, SCALE, MASK = "mean", "scale", "mask"
ALL = (NOISY, CLEAN, PROPAGATED, MEAN, SCALE, MASK)
