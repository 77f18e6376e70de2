"""Every reader is given nonsense: what it raises is an error of ib_keras, or nothing."""

import contextlib
import html.parser
import io
import json
import math
import pathlib
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
import test_damage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nursery import SOAK

import ib_keras as ib
from ib_keras import datasets, models, report
from ib_keras.arrays import labels, targets
from ib_keras.components import base
from ib_keras.components.artifacts import examples, samples
from ib_keras.components.artifacts import prior as image_prior
from ib_keras.components.decoder import executor
from ib_keras.components.known_pairs import executor as known_pairs
from ib_keras.errors import IbKerasError
from ib_keras.pipelines import settings as pipeline_settings
from ib_keras.pipelines.spec import machines
from ib_keras.storage import checkpoint_files, images, journal, manifests
from ib_keras.training import logs as training_logs
from ib_keras.training import schedule

FUZZ = settings(
    max_examples=500 if SOAK else 25,
    derandomize=not SOAK,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT
    | st.sampled_from(["../../etc/passwd", "/", "epoch-000000", "noisy", "clean", 10**18, -1, 0]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
JSON = VALUES.map(json.dumps)
cases = {}


@pytest.fixture(autouse=True)
def counted(request, count):
    begin = time.process_time()
    yield
    count(cases=cases.pop("n", 0), fuzz_cpu_seconds=round(time.process_time() - begin, 1))


@contextlib.contextmanager
def our_errors():
    cases["n"] = cases.get("n", 0) + 1
    with contextlib.suppress(IbKerasError):
        yield


@st.composite
def damage(draw):
    """A function that changes some bytes, cuts, or puts in others."""
    edits = draw(
        st.lists(
            st.tuples(st.floats(0, 1), st.sampled_from(["set", "cut", "add"]),
                      st.binary(min_size=1, max_size=8)),
            min_size=1, max_size=6,
        )
    )  # fmt: skip

    def apply(content):
        made = bytearray(content)
        for share, kind, piece in edits:
            at = int(share * len(made))
            if kind == "set":
                made[at : at + len(piece)] = piece
            elif kind == "cut":
                del made[at:]
            else:
                made[at:at] = piece
        return bytes(made)

    return apply


def paths(content, found=()):
    """The ways to all parts of a JSON value."""
    yield found
    if isinstance(content, dict):
        for name, part in content.items():
            yield from paths(part, (*found, name))
    elif isinstance(content, list):
        for i, part in enumerate(content):
            yield from paths(part, (*found, i))


def with_part(content, way, value):
    if not way:
        return value
    made = dict(content) if isinstance(content, dict) else list(content)
    made[way[0]] = with_part(made[way[0]], way[1:], value)
    return made


def sign(content):
    """The manifest as it would be written, by somebody who knows how: with a checksum."""
    if isinstance(content, dict):
        content = {name: part for name, part in content.items() if name != "sha256"}
        content["sha256"] = manifests.content_checksum(content)
    return json.dumps(content)


@pytest.fixture(scope="module", params=test_damage.ARTIFACTS[:5], ids=lambda make: make.__name__)
def artifact(request, tmp_path_factory):
    path, read = request.param(tmp_path_factory.mktemp("fuzz"))
    texts = {file: file.read_text() for file in path.rglob(manifests.MANIFEST)}
    yield path, read, texts
    for file, text in texts.items():
        file.write_text(text)


@FUZZ
@given(data=st.data(), value=VALUES)
def test_manifests(artifact, data, value):
    _, read, texts = artifact
    file = data.draw(st.sampled_from(sorted(texts)))
    content = json.loads(texts[file])
    way = data.draw(st.sampled_from(sorted(paths(content), key=str)))
    file.write_text(sign(with_part(content, way, value)))
    try:
        with our_errors():
            read()
    finally:
        file.write_text(texts[file])


@FUZZ
@given(damaged=damage())
def test_arrays(tmp_path_factory, damaged):
    file = tmp_path_factory.getbasetemp() / "fuzzed.npy"
    buffer = io.BytesIO()
    np.save(buffer, np.arange(12.0).reshape(3, 4))
    file.write_bytes(damaged(buffer.getvalue()))
    with our_errors():
        from ib_keras.storage import npy

        np.array(npy.read_npy(file))


@FUZZ
@given(damaged=damage(), header=st.none() | st.tuples(VALUES, TEXT), packed=st.booleans())
def test_npz_data(tmp_path_factory, damaged, header, packed):
    file = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), np.arange(20) % 2
    if header is None:
        (np.savez_compressed if packed else np.savez)(buffer, x=x, y=y)
        content = damaged(buffer.getvalue())
    else:
        with zipfile.ZipFile(buffer, "w") as archive:
            text = repr({"descr": "<f8", "fortran_order": header[1], "shape": header[0]}).encode()
            prefix = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
            archive.writestr("x.npy", prefix + text + x.tobytes())
        content = buffer.getvalue()
    file.write_bytes(content)
    with our_errors():
        ib.datasets.load(file)


# Each is read by a process of its own.
@settings(FUZZ, max_examples=200 if SOAK else 5)
@given(damaged=damage(), packed=st.booleans())
def test_mat_data(tmp_path_factory, damaged, packed):
    from scipy.io import savemat

    file = tmp_path_factory.getbasetemp() / "fuzzed.mat"
    x, y = np.random.default_rng(0).integers(0, 2, (20, 3)), np.arange(20) % 2
    buffer = io.BytesIO()
    savemat(buffer, {"F": x, "y": y}, do_compression=packed)
    file.write_bytes(damaged(buffer.getvalue()))
    with our_errors():
        ib.datasets.load(file)


@FUZZ
@given(damaged=damage(), suffix=st.sampled_from([".csv", ".csv.gz", ".parquet"]))
def test_tables_of_data(tmp_path_factory, damaged, suffix):
    file = tmp_path_factory.getbasetemp() / f"fuzzed{suffix}"
    frame = pd.DataFrame({"a": np.arange(20) / 7, "b": np.arange(20), "y": list("ab") * 10})
    frame.to_parquet(file) if suffix == ".parquet" else frame.to_csv(file, index=False)
    file.write_bytes(damaged(file.read_bytes()))
    with our_errors():
        ib.datasets.load(file)


@FUZZ
@given(damaged=damage(), kind=st.sampled_from(["png", "jpeg", "gif", "bmp"]))
def test_images_of_data(tmp_path_factory, damaged, kind):
    import tensorflow as tf

    folder = tmp_path_factory.getbasetemp() / "fuzzed_images"
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    content = {
        "png": lambda: tf.io.encode_png(pixels).numpy(),
        "jpeg": lambda: tf.io.encode_jpeg(pixels).numpy(),
        "gif": lambda: b"GIF89a" + bytes([4, 0, 4, 0, 0, 0, 0]) + bytes(20),
        "bmp": lambda: b"BM" + bytes(16) + bytes([4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 24]) + bytes(70),
    }[kind]()
    for i in range(4):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damaged(content) if i == 3 else tf.io.encode_png(pixels).numpy())
    with our_errors():
        ib.datasets.load(folder, test_fraction=0.5)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    model = models.mlp((3,), 2, hidden=(2,))
    files = {}
    for name in ("1.keras", "1.weights.h5"):
        path = tmp_path_factory.mktemp("checkpoint") / name
        (model.save if name == "1.keras" else model.save_weights)(path)
        files[name] = path.read_bytes()
    return model, files


@FUZZ
@given(damaged=damage(), name=st.sampled_from(["1.keras", "1.weights.h5"]))
def test_checkpoints(checkpoint, damaged, name, tmp_path_factory):
    from ib_keras.models import from_checkpoints

    model, files = checkpoint
    path = tmp_path_factory.getbasetemp() / f"fuzzed_{name}"
    path.write_bytes(damaged(files[name]))
    with our_errors():
        _, restore = from_checkpoints.open_all({1: path}, model)
        restore(1)


@FUZZ
@given(content=st.fixed_dictionaries({}, optional={
    "name": st.just("szt"), "checkpoints": VALUES, "pattern": VALUES, "logs": VALUES}))  # fmt: skip
def test_checkpoints_of_models(content):
    for read in (models.check, models.label, models.checkpoints, models.logs):
        with our_errors():
            read(content)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    path, _ = test_damage.make_table(tmp_path_factory.mktemp("parquet"))
    return path, (path / "estimates.parquet").read_bytes()


@FUZZ
@given(damaged=damage(), tail=st.booleans())
def test_parquet(parquet, damaged, tail, tmp_path_factory):
    """Without a manifest, so that nothing but the format itself tells what is damaged."""
    _, content = parquet
    file = tmp_path_factory.getbasetemp() / "fuzzed.parquet"
    cut = int.from_bytes(content[-8:-4], "little") + 8
    made = content[:-cut] + damaged(content[-cut:]) if tail else damaged(content)
    file.write_bytes(made)
    with our_errors():
        table = ib.load(file)
        ib.frame.convert(table, "bits")


@FUZZ
@given(column=st.sampled_from(ib.frame.COLUMNS), values=st.lists(VALUES, min_size=1, max_size=3))
def test_tables_of_other_types(parquet, column, values, tmp_path_factory):
    path, _ = parquet
    table = pd.read_parquet(path / "estimates.parquet")
    table[column] = pd.Series((values * len(table))[: len(table)])
    file = tmp_path_factory.getbasetemp() / "typed.parquet"
    try:
        table.to_parquet(file)
    except Exception:  # values that no file holds together
        return
    with our_errors():
        ib.frame.compression(ib.load(file))


@FUZZ
@given(content=st.lists(st.binary(max_size=40) | VALUES.map(lambda v: sign({"logs": v}).encode())))
def test_journals(artifact, content, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "journal"
    folder.mkdir(exist_ok=True)
    (folder / journal.NAME).write_bytes(b"\n".join(content))
    with our_errors():
        journal.read(folder)


@FUZZ
@given(text=TEXT | JSON | st.just("[" * 100_000))
def test_texts_from_the_command_line(text):
    for read in (
        ib.estimators.get, schedule.parse, executor.read_cell, known_pairs.read_images,
        image_prior.bound, base.items, models.check,
        lambda given: models.check(given + ".keras"), lambda given: datasets.check(given + ".npz"),
        lambda given: datasets.check("digits", image_size=given),
        checkpoint_files.find, lambda given: checkpoint_files.find("x", given),
        images.size_of, lambda given: training_logs.read([{"epoch": given}]),
        *(lambda given, hint=hint: pipeline_settings.parse_value("key", given, hint)
          for hint in (str, bool, int, float, list[str], list[int], list[float])),
    ):  # fmt: skip
        with our_errors():
            read(text)


@FUZZ
@given(content=st.binary(max_size=60) | JSON.map(str.encode) | TEXT.map(str.encode))
def test_machines(content, tmp_path_factory):
    file = tmp_path_factory.getbasetemp() / "machines.yaml"
    file.write_bytes(content)
    with our_errors():
        machines.parse(str(file))


@FUZZ
@given(damaged=damage(), drop=st.sampled_from(["", "run", "samples", "levels"]))
def test_what_decoders_drew(tmp_path_factory, damaged, drop):
    folder = tmp_path_factory.getbasetemp() / "drawn"
    folder.mkdir(exist_ok=True)
    arrays = {
        "originals": np.zeros((2, 3, 3, 1)), "samples": np.zeros((1, 2, 2, 3, 3, 1)),
        "epochs": np.array([3]), "run": np.array("mine"), "layer": np.array("a"),
        "levels": np.array(4),
    }  # fmt: skip
    arrays.pop(drop, None)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    content = buffer.getvalue()
    (folder / samples.SAMPLES).write_bytes(content if drop else damaged(content))
    manifests.write_manifest(
        folder, ib.frame.SCHEMA, ib.frame.VERSION, files=manifests.checksums(folder)
    )
    with our_errors():
        samples.read(folder)


class Elements(html.parser.HTMLParser):
    """A page's elements, with their attributes' names."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, tuple(sorted(name for name, _ in attrs))))


HOSTILE = st.sampled_from([
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", '"><img src=x onerror=a()>',
    "<!--<script>", "]]>", "$title", "${data}", "\u2028", "&lt;b&gt;", "'; alert(1); '",
])  # fmt: skip


@settings(FUZZ, max_examples=200 if SOAK else 10)
@given(names=st.lists(HOSTILE | TEXT, min_size=6, max_size=6))
def test_names_in_the_report_stay_text(names, tmp_path_factory):
    run, layer, estimator, flag, kind, title = names
    rows = [
        {"run": run, "epoch": e, "layer": layer, "layer_index": 0, "dim": 2, "n": 9,
         "estimator": estimator, "quantity": "I(X;T)", "value": 1.0 - e / 9, "stderr": math.nan,
         "kind": kind, "flags": flag.replace(",", ""), "noise_std": 0.0, "seconds": 0.1,
         "unit": "nats"}
        for e in (0, 3, 5)
    ]  # fmt: skip
    harmless = [{name: "a" if isinstance(value, str) and name not in ("quantity", "unit") else value
                 for name, value in row.items()} for row in rows]  # fmt: skip
    folder = tmp_path_factory.getbasetemp()
    pages = []
    for content, head in ((rows, title), (harmless, "a")):
        table = ib.frame.from_rows(content)
        table.attrs = {head: {head: head}}
        section = report.Section(head, head, table=pd.DataFrame({head: [head]}))
        with our_errors():
            path = report.write(table, folder / "page.html", title=head, sections=[section])
            pages.append(pathlib.Path(path).read_text(encoding="utf-8"))
    dangerous = {"script", "img", "iframe", "svg", "object", "link", "style", "base", "form"}
    counts = [[e for e in Elements(page).found if e[0] in dangerous] for page in pages]
    assert counts[0] == counts[1]
    assert not [a for _, names in Elements(pages[0]).found for a in names if a.startswith("on")]


def test_nobody_reads_pickles_or_runs_shells():
    """A last look at the sources, for what bandit does not know."""
    root = pathlib.Path(ib.__file__).parents[1]
    sources = [p for f in ("ib_keras", "components", "pipelines") for p in (root / f).rglob("*.py")]
    assert len(sources) > 100
    for path in sources:
        text = path.read_text()
        assert "allow_pickle=True" not in text and "read_pickle" not in text, path
        assert "shell=True" not in text and "os.system" not in text, path
        assert "safe_mode=False" not in text and "unsafe_deserialization" not in text, path
        assert "yaml.load(" not in text, path


def test_examples_are_compared_with_their_checksums(tmp_path):
    path, _ = test_damage.make_examples(tmp_path)
    np.save(path / "x_train.npy", np.zeros((256, 1), "f4"))
    with pytest.raises(IbKerasError, match=r"x_train\.npy' is damaged"):
        examples.read(path)


def test_a_list_of_files_that_is_none(tmp_path):
    path, read = test_damage.make_examples(tmp_path)
    manifest = path / manifests.MANIFEST
    manifest.write_text(sign({**json.loads(manifest.read_text()), "files": True}))
    with pytest.raises(IbKerasError, match="in its manifest"):
        read()


@FUZZ
@given(
    y=st.lists(
        VALUES | st.binary(max_size=3) | st.sampled_from([None, np.nan, pd.NA, 1j]), max_size=9
    ),
    as_objects=st.booleans(),
    repeat=st.sampled_from([1, 3]),
)
def test_labels(y, as_objects, repeat):
    y = y * repeat
    given_labels = y
    if as_objects:
        given_labels = np.empty(len(y), object)
        given_labels[:] = y
    with our_errors():
        labels.are_labels(given_labels)
        codes, names = labels.encode_labels(given_labels, len(y))
        assert codes.tolist() == [] or sorted(set(codes.tolist())) == list(range(len(names)))
        assert json.loads(json.dumps(names)) == list(names)
    with our_errors():
        for target in targets.as_targets(given_labels, len(y)):
            assert target.is_continuous == (target.values.ndim == 2)
            assert len(target.values) == len(y)
            targets.classes_of(target.values, len(y), 3)
