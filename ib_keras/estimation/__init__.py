"""Tables of estimates from activations, their calibration, and estimates for any two variables."""
