import pathlib
import re

README = pathlib.Path(__file__).parents[1] / "README.md"


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
