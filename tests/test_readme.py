import pathlib
import re

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_the_library_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    names: dict = {}
    exec(code, names)
    assert set(names["table"]["layer"]) == {"wide", "narrow", "output"}
    assert names["table"]["value"].notna().all()
    assert all(
        (tmp_path / f).stat().st_size > 0 for f in ("plane.png", "curves.png", "report.html")
    )
    assert "wide" in capsys.readouterr().out


def test_the_flags_and_estimators_it_names_exist():
    import ib_keras as ib

    text = README.read_text()
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)\(", text, flags=re.M)
    assert {name for name, _ in rows} == set(ib.estimators.names())
    for name, cls in rows:
        assert type(ib.estimators.get(name)).__name__ == cls
    for flag in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, flags=re.M):
        for name in re.findall(r"\w+", flag):
            assert name in ib.report.FLAGS or name in ib.estimators.names()
