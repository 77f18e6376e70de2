import sys

import numpy as np
import pytest
from make_frame import make_frame

import ib_keras as ib
from ib_keras.errors import ArgumentError, MissingExtraError


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
        assert len(figure.legends[0].get_texts()) == layers


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
