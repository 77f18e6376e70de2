"""Finds the packages; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

at_the_top = find_packages(include=["components", "components.*", "pipelines", "pipelines.*"])
setup(
    packages=[
        *find_packages(include=["ib_keras", "ib_keras.*"]),
        *(f"ib_keras.{name}" for name in at_the_top),
    ]
)
