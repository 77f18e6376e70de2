"""Side-by-side measurements: ratios within one run, and their goals. Not part of the tests."""
