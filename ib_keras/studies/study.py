"""The studies by name; each writes a folder with findings, figures and a page."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ib_keras import frame, report
from ib_keras.errors import ArgumentError
from ib_keras.storage import atomic
from ib_keras.studies.butakov_2024 import reported as lossy_compression
from ib_keras.studies.chelombiev_2019 import reported as adaptive_estimators
from ib_keras.studies.darlow_2020 import reported as resnet_decoder
from ib_keras.studies.goldfeld_2019 import reported as noisy_dnn
from ib_keras.studies.material import Material, Reported, plane

PAGE = "report.html"


class Study(NamedTuple):
    """A study: the default title of its page, and the function that makes its content.

    Args:
        title: default title of the page.
        reported: function of the measured results that returns the tables, figures and sections.
    """

    title: str
    reported: Callable[[Material], Reported]


STUDIES = {
    "information_plane": Study(
        "Information plane", lambda material: Reported(figures=plane(material.table))
    ),
    "noisy_dnn": Study("Noisy networks", noisy_dnn),
    "adaptive_estimators": Study("Activation functions", adaptive_estimators),
    "lossy_compression": Study("Lossy compression", lossy_compression),
    "resnet_decoder": Study("What a residual network keeps", resnet_decoder),
}


def read(estimates: Sequence[str | os.PathLike]) -> Material:
    """Read and join tables of estimates.

    Args:
        estimates: folders that ``frame.write`` wrote.

    Returns:
        The material of a study, without clustering measures and images.

    Raises:
        ArgumentError: If there are no folders.
    """
    folders = [pathlib.Path(path) for path in estimates]
    if not folders:
        raise ArgumentError("There are no estimates", "at least one folder", list(estimates))
    joined = frame.load(folders)
    own = frame.columns(joined)
    table = joined[own].sort_values(
        ["run", "estimator", "epoch", "layer_index", "quantity"], ignore_index=True
    )
    measured = [c for c in joined.columns if c not in own]
    logs = joined[["run", "epoch", *measured]].drop_duplicates(["run", "epoch"], ignore_index=True)
    return Material(joined, table, logs)


def check(study: str) -> Study:
    """Return the study with a name.

    Raises:
        ArgumentError: If the name is unknown.
    """
    if study not in STUDIES:
        raise ArgumentError("The study is unknown", f"one of {list(STUDIES)}", repr(study))
    return STUDIES[study]


def write(
    material: Material,
    output: str | os.PathLike,
    *,
    study: str = "information_plane",
    title: str = "",
    page: str | os.PathLike | None = None,
) -> Reported:
    """Write the estimates and logs, and the tables, figures and page of a study.

    Args:
        material: the measured results.
        output: the folder to write.
        study: name of the study.
        title: title of the page; the default is the title of the study.
        page: file for a second copy of the page; ``None`` for no copy.

    Returns:
        The tables, figures and sections of the study.

    Raises:
        ArgumentError: If the study is unknown, or ``output`` is another kind of folder.
    """
    chosen = check(study)
    shown = chosen.reported(material)

    def fill(folder: pathlib.Path) -> None:
        frame.write(material.table, folder, logs=material.logs)
        for name, table in shown.tables.items():
            if name.endswith(".csv"):
                table.to_csv(folder / name, index=False)
            else:
                table.to_parquet(folder / name, index=False)
        for name, figure in shown.figures.items():
            figure.savefig(folder / name, dpi=150)
        report.write(
            material.table,
            folder / PAGE,
            title=title or chosen.title,
            sections=shown.sections,
            single_runs=shown.single_runs,
        )

    folder = pathlib.Path(output)
    atomic.write_folder(folder, fill)
    if page is not None:
        shutil.copyfile(folder / PAGE, page)
    return shown
