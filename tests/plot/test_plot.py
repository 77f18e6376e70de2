import sys

import numpy as np
import pandas as pd
import pytest
from make_frame import make_frame

import ib_keras as ib
from ib_keras import flags
from ib_keras.errors import ArgumentError, MissingExtraError
from ib_keras.plot import drawing


def panels(figure):
    return [a for a in figure.axes if a.get_title()]


def offsets(axes):
    return sorted(tuple(np.round(xy, 9)) for c in axes.collections for xy in c.get_offsets())


def test_the_plane_shows_the_tables_values():
    table = make_frame()
    figure = ib.plot.information_plane(table)
    (axes,) = panels(figure)
    x = table[table["quantity"] == "I(X;T)"]["value"]
    assert offsets(axes) == sorted((round(v, 9), round(0.1 * v, 9)) for v in x)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("I(X;T) [nats]", "I(T;Y) [nats]")
    assert axes.get_title() == "ebab"
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b/c"]
    (bar,) = [a for a in figure.axes if a.get_ylabel() == "epoch"]
    assert [t.get_text() for t in bar.get_yticklabels()] == ["0", "1", "10"]
    # Deterministic: nothing of pyplot's global state is touched.
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


def test_a_panel_for_each_run_and_estimator():
    table = make_frame(runs=("r", "s"), estimators=("ebab", "kde", "akde"))
    titles = {a.get_title() for a in panels(ib.plot.information_plane(table))}
    assert titles == {f"{r} · {e}" for r in "rs" for e in ("ebab", "kde", "akde")}
    chosen = ib.plot.information_plane(table, run="s", estimator=["kde"])
    assert [a.get_title() for a in panels(chosen)] == ["kde"]


def test_bounds_and_bits_are_named():
    table = make_frame(kind="upper", unit="bits")
    (axes,) = panels(ib.plot.information_plane(table))
    assert axes.get_title() == "ebab\n(upper bound on I(X;T))"
    assert axes.get_xlabel() == "I(X;T) [bits]"
    noisy = make_frame(kind="upper", flags="measurement_noise")
    (axes,) = panels(ib.plot.information_plane(noisy))
    assert axes.get_title() == "ebab\n(upper bound on I(X;T+N))"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("I(X;T+N) [nats]", "I(T+N;Y) [nats]")
    (axes,) = panels(ib.plot.layer_curves(noisy, quantity="I(T;Y)"))
    assert axes.get_ylabel() == "I(T+N;Y) [nats]"


def test_saturated_points_are_hollow():
    table = make_frame(layers=("a",), epochs=(0, 1), flags="saturated")
    (axes,) = panels(ib.plot.information_plane(table))
    assert all(len(c.get_facecolors()) == 0 for c in axes.collections)
    (axes,) = panels(ib.plot.information_plane(make_frame(layers=("a",), epochs=(0, 1))))
    assert all(len(c.get_facecolors()) == 2 for c in axes.collections)


def test_missing_values_are_left_out():
    table = make_frame()
    table.loc[(table["epoch"] == 1) & (table["layer"] == "a"), "value"] = np.nan
    (axes,) = panels(ib.plot.information_plane(table))
    assert len(offsets(axes)) == 5


@pytest.mark.parametrize("layers", [1, 2, 50])
@pytest.mark.parametrize("epochs", [(0,), (0, 7, 3000)])
def test_sizes(layers, epochs):
    table = make_frame(layers=[f"layer_{i}" for i in range(layers)], epochs=epochs)
    for figure in (ib.plot.information_plane(table), ib.plot.layer_curves(table)):
        figure.canvas.draw()
        if layers <= 30:
            assert len(figure.legends[0].get_texts()) == layers
        else:
            names = figure.axes[-1].get_yticklabels()
            assert [names[0].get_text(), names[-1].get_text()] == ["1: layer_0", "50: layer_49"]
            assert figure.get_size_inches()[0] < 8


def test_long_names_are_shortened():
    layers = [f"encoder/{'block/' * 60}{i}" for i in range(3)]
    table = make_frame(layers=layers)
    for figure in (ib.plot.information_plane(table), ib.plot.layer_curves(table)):
        figure.canvas.draw()
        texts = [text.get_text() for text in figure.legends[0].get_texts()[:3]]
        assert [len(text) for text in texts] == [48] * 3
        assert [text[-2:] for text in texts] == ["/0", "/1", "/2"]
        assert texts[0].startswith("encoder/block/")
        assert figure.get_size_inches()[0] < 12


def test_many_layers_have_markers_in_the_last_epoch_only():
    table = make_frame(layers=[f"layer_{i}" for i in range(31)], estimators=("ebab", "kde"))
    table.loc[table["estimator"] == "ebab", "flags"] = "saturated"
    figure = ib.plot.information_plane(table)
    ebab, kde = figure.axes[:2]
    last = table[(table["epoch"] == 10) & (table["estimator"] == "kde")]
    assert len(offsets(kde)) == len(offsets(ebab)) == 31
    wanted = last[last["quantity"] == "I(X;T)"].sort_values("value")["value"]
    assert [point[0] for point in offsets(kde)] == pytest.approx(wanted.tolist())
    faces = [tuple(c.get_facecolor()[0]) for c in kde.collections]
    assert len(set(faces)) == 31 and all(len(c.get_facecolor()) == 0 for c in ebab.collections)
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert "says nothing" in legend.get_texts()[0].get_text()
    (own,) = ib.plot.layer_curves(table[table["estimator"] == "kde"], ax=kde).axes[:1]
    assert own is ebab


def test_curves_show_the_tables_values_and_errors():
    table = make_frame(stderr=0.25)
    figure = ib.plot.layer_curves(table, quantity="I(T;Y)")
    (axes,) = panels(figure)
    assert axes.get_ylabel() == "I(T;Y) [nats]"
    for line, layer in zip(axes.lines, ("a", "b/c"), strict=True):
        rows = table[(table["layer"] == layer) & (table["quantity"] == "I(T;Y)")]
        np.testing.assert_allclose(line.get_xdata(), rows["epoch"])
        np.testing.assert_allclose(line.get_ydata(), rows["value"])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() - band.min() == pytest.approx(0.1 + 2 * 0.25)


def test_axes_of_the_caller():
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert ib.plot.information_plane(make_frame(), ax=ax) is ax.figure
    assert len(offsets(ax)) == 6
    with pytest.raises(ArgumentError, match="choose by `run`"):
        ib.plot.information_plane(make_frame(runs="rs"), ax=ax)


def test_bad_tables():
    table = make_frame()
    for draw in (ib.plot.information_plane, ib.plot.layer_curves):
        with pytest.raises(ArgumentError, match=r"lacks \['run'\]"):
            draw(table.drop(columns="run"))
        with pytest.raises(ArgumentError, match="'estimator' is not|`estimator` is not"):
            draw(table, estimator="kde")
        with pytest.raises(ArgumentError, match="mixes units"):
            draw(table.assign(unit=["nats", "bits"] * 6))
    with pytest.raises(ArgumentError, match="nothing to draw"):
        ib.plot.information_plane(table[table["quantity"] == "I(X;T)"])
    with pytest.raises(ArgumentError, match="has no H"):
        ib.plot.layer_curves(table, quantity="H(T)")


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ib-keras\[plot\]'"):
        ib.plot.information_plane(make_frame())


def test_doubt_shows():
    texts = {"": 1.0, "measurement_bins": 0.35, "saturated,measurement_bins": None}
    for text, strength in texts.items():
        table = make_frame(layers=("a",), epochs=(0,), flags=text)
        for draw in (ib.plot.information_plane, ib.plot.layer_curves):
            figure = draw(table)
            (axes,) = panels(figure)
            faces = axes.collections[-1].get_facecolors()
            edge = (68 / 255, 1 / 255, 84 / 255)  # viridis begins so
            if strength is None:
                assert len(faces) == 0
            else:
                assert faces[0, :3] == pytest.approx(
                    [1 - strength * (1 - c) for c in edge], abs=0.01
                )
            legend = [t.get_text() for t in figure.legends[0].get_texts()]
            said = {
                1.0: [],
                0.35: [f"pale: {flags.MEANINGS[flags.CARE]}"],
                None: [f"hollow: {flags.MEANINGS[flags.NOTHING]}"],
            }
            assert legend[1:] == said[strength]
        assert axes.lines[0].get_linestyle() == ("--" if strength is None else "-")


def seeds():
    tables = [make_frame(runs=(f"tanh-{i}",), layers=("a",)) for i in range(3)]
    for i, table in enumerate(tables):
        table["value"] += i
    return pd.concat(tables, ignore_index=True)


def test_means_over_seeds_with_their_spread():
    table = seeds()
    figure = ib.plot.layer_curves(table, over_seeds=True)
    (axes,) = panels(figure)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [6.0, 6.1, 7.0])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((5.0, 8.0))  # one standard deviation is 1
    (axes,) = panels(ib.plot.information_plane(table, over_seeds=True))
    markers = [xy for xy in offsets(axes) if xy != (0, 0)]  # those of bars are at 0
    assert markers == [(6.0, 1.5), (6.1, 1.51), (7.0, 1.6)]
    mean = ib.frame.over_seeds(table)
    assert set(mean["run"]) == {"tanh"} and list(mean.columns) == ib.frame.COLUMNS
    alone = make_frame(stderr=0.5)
    assert set(ib.frame.over_seeds(alone)["stderr"]) == {0.5}


def test_ensembles_name_each_place_once():
    own = make_frame(runs=("relu-0", "relu-1"), layers=("dense_1", "dense_2", "output"))
    renamed = {"dense_1": "dense_1_prelu", "dense_2": "dense_2_prelu"}
    other = own.replace({"layer": renamed, "run": {"relu-0": "prelu-0", "relu-1": "prelu-1"}})
    names = ["dense_1", "dense_2", "output"]
    for tables in ([own, other], [other, own]):
        table = pd.concat(tables, ignore_index=True)
        figure = ib.plot.ensemble_planes(table, estimator="ebab")
        assert [t.get_text() for t in figure.legends[0].get_texts()] == names
        falls = ib.frame.compression(table, over_seeds=True)
        (axes,) = ib.plot.compression(falls, estimator="ebab").axes
        assert [t.get_text() for t in axes.get_xticklabels()] == names


def test_compression_is_drawn_in_its_unit():
    falls = ib.frame.compression(seeds().assign(unit="bits"), over_seeds=True)
    for measure, unit in (("absolute", "[bits]"), ("relative", "(fraction)")):
        (axes,) = ib.plot.compression(falls, estimator="ebab", measure=measure).axes
        assert axes.get_ylabel().endswith(unit)
    (axes,) = ib.plot.compression(falls.drop(columns="unit"), estimator="ebab").axes
    assert axes.get_ylabel().endswith("[nats]")
    both = pd.concat([falls, falls.assign(run="relu", unit="nats")])
    with pytest.raises(ArgumentError, match="mixes units"):
        ib.plot.compression(both, estimator="ebab")


def test_phases_are_marked():
    table = make_frame(layers=("a",), epochs=(0, 1, 10, 100))
    table.loc[table["quantity"] == "I(X;T)", "value"] = [1.0, 5.0, 3.0, 2.0]
    figure = ib.plot.layer_curves(table, phases=True)
    (axes,) = panels(figure)
    (wide,) = [line for line in axes.lines if line.get_linewidth() > 5]
    assert list(wide.get_xdata()) == [1, 10, 100]
    assert "wide: compression" in [t.get_text() for t in figure.legends[0].get_texts()]
    # A curve that ends at its ceiling says nothing, hence not that it compresses.
    (axes,) = panels(ib.plot.layer_curves(table.assign(flags="saturated"), phases=True))
    assert not [line for line in axes.lines if line.get_linewidth() > 5]


def test_truth_with_its_band_in_axes_of_the_caller():
    from matplotlib.figure import Figure

    table = make_frame(runs=("gaussian-16-1", "gaussian-16-3"), layers=("images",), epochs=(0,))
    table = table[table["quantity"] == "I(X;T)"].reset_index(drop=True)
    table = table.assign(mi=[1.0, 3.0], calibrated_lower=[0.5, 2.0], calibrated_upper=[1.5, 4.5])
    ax = Figure().subplots()
    assert ib.plot.against_truth(table, ax=ax) is ax.figure
    band = ax.collections[-1].get_paths()[0].vertices
    assert (band[:, 0].min(), band[:, 0].max()) == (1.0, 3.0)
    assert (band[:, 1].min(), band[:, 1].max()) == (0.5, 4.5)
    assert len(ax.get_legend().get_texts()) == 1
    both = table.assign(run=["gaussian-16-1", "rectangle-16-3"])
    with pytest.raises(ArgumentError, match="one panel"):
        ib.plot.against_truth(both, ax=ax)


def test_doubt_shows_against_the_truth():
    names = [f"estimator {i}" for i in range(len(drawing.MARKERS))]
    runs = ("gaussian-16-1", "gaussian-16-3", "gaussian-16-5")
    table = make_frame(runs=runs, estimators=names, layers=("images",), epochs=(0,), unit="bits")
    table = table[table["quantity"] == "I(X;T)"].reset_index(drop=True)
    marks = dict(zip(runs, ("saturated", "ties", ""), strict=True))
    table = table.assign(mi=table["run"].str[-1].astype(float), flags=table["run"].map(marks))
    figure = ib.plot.against_truth(table)
    (axes,) = figure.axes
    faces = {}
    for line in axes.lines:
        if line.get_linestyle() == "None" and line.get_marker() == "o" and len(line.get_xdata()):
            faces[float(line.get_xdata()[0])] = line.get_markerfacecolor()
    assert faces[1.0] == "white"
    full = np.array(faces[5.0][:3])
    assert faces[3.0][:3] == pytest.approx(1 - 0.35 * (1 - full))
    entries = [t.get_text() for t in figure.legends[0].get_texts()]
    assert entries[-2:] == [
        f"pale: {flags.MEANINGS[flags.CARE]}", f"hollow: {flags.MEANINGS[flags.NOTHING]}"
    ]  # fmt: skip
    used = {line.get_marker() for line in axes.lines} - {"None", "", None}
    assert set(drawing.MARKERS) <= used
    # The true information is in nats.
    assert axes.get_xlabel() == "true information [nats]"
    assert {float(v) for line in axes.lines for v in line.get_ydata()} >= {5 * np.log(2)}


def test_panels_in_the_place_of_the_callers_axes(tmp_path):
    import pandas as pd
    from matplotlib.figure import Figure

    bars = pd.DataFrame(
        [
            {"run": "r", "epoch": epoch, "layer": layer, "layer_index": i, "similarity": "distance",
             "pairs": pairs, "left": left, "right": left + 1.0, "density": 0.5}
            for epoch in (0, 5) for i, layer in enumerate("abc")
            for pairs in ("within", "between") for left in (0.0, 1.0)
        ]
    )  # fmt: skip
    images = np.random.default_rng(0).integers(0, 5, (2, 6, 6, 1))
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert ib.plot.clusters(bars, ax=left) is figure
    drawn = {"h1": images[:, None], "h2": np.stack([images, images], axis=1)}
    assert ib.plot.conditional_samples(images, drawn, levels=5, title="draws", ax=right) is figure
    figure.savefig(tmp_path / "both.png")
    middle = figure.bbox.width / 2
    sides = [a.get_window_extent().x0 > middle for a in figure.axes if a.axison]
    assert (sides.count(False), sides.count(True)) == (6, 3)
    free = figure.add_axes((0, 0, 0.1, 0.1))
    with pytest.raises(ArgumentError, match="no place in a grid"):
        ib.plot.clusters(bars, ax=free)
    with pytest.raises(ArgumentError, match="no place in a grid"):
        ib.plot.conditional_samples(images, drawn, levels=5, ax=free)


def test_a_table_without_a_number_is_drawn_as_such():
    table = make_frame().assign(value=np.nan, flags="not_estimated")
    for draw in (ib.plot.information_plane, ib.plot.layer_curves):
        (axes,) = draw(table).axes
        assert axes.texts[0].get_text().startswith("no finite values")


def test_rounding_errors_do_not_fill_a_panel():
    table = make_frame(runs=("r",), estimators=("sp",), layers=("z",))
    table["value"] = np.where(table["quantity"] == "I(X;T)", table["value"], 2.3)
    table["value"] += 1e-14 * np.arange(len(table))
    axes = ib.plot.information_plane(table).axes[0]
    low, high = axes.get_ylim()
    assert high - low == pytest.approx(0.05) and (low + high) / 2 == pytest.approx(2.3)
    low, high = axes.get_xlim()
    assert high - low > 0.05
