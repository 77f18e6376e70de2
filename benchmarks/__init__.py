"""Side-by-side measurements: ratios within one run, beside their goals. Not part of the tests."""
