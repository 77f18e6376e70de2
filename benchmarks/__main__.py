"""Runs all benchmarks, prints their ratios and rewrites README.md."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks import (
    _measure,
    critics,
    data_sets,
    ensembles,
    frames,
    instrument,
    kernels,
    mixture,
    neighbors,
    pipeline,
    pixelcnn,
    store,
)


def main() -> None:
    modules = {
        "kernels": kernels,
        "critics": critics,
        "instrument": instrument,
        "mixture": mixture,
        "ensembles": ensembles,
        "neighbors": neighbors,
        "pixelcnn": pixelcnn,
        "frames": frames,
        "store": store,
        "data_sets": data_sets,
        "pipeline": pipeline,
    }
    groups = {}
    for name, module in modules.items():
        groups[name] = module.run()
        print(f"\n{name}\n{_measure.table(groups[name])}", flush=True)
    _measure.write(groups)


if __name__ == "__main__":
    main()
