"""Archives made to harm: each is refused with a reason, leaves nothing, and costs little."""

import io
import json
import random
import stat
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from models.archives import open_archive, take_in
from models.ensemble import EnsembleManifest
from models.errors import InvalidArchive
from models.store import MANIFEST, Store
from models.zips import ZipLimits, open_zip, read_entry
from tests.archives import Files, archived, reported, unzip, vouched, with_manifest, zipped
from tests.service import problem_of, running, settings_for
from tests.tiny import doubt

MEMBER, PREDICTIONS = "member-00.safetensors", "validation.safetensors"
MOST_BYTES = 24 * 2**20


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What is in the archive of an ensemble that is fine."""
    folder = tmp_path_factory.mktemp("hostile")
    store = Store(folder / "store", release=folder / "release")
    return unzip(archived(store, reported(store).id))


def taken(data: bytes) -> EnsembleManifest:
    return open_archive(io.BytesIO(data), MOST_BYTES).manifest


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidArchive) as refused:
        taken(data)
    return str(refused.value)


def entries(*named: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    """Return an archive of entries, some of which may have the same name."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two of one name
        for info, data in named:
            archive.writestr(info, data)
    return sink.getvalue()


def entry(name: str, **fields: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def manifest_of(files: Files) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files[MANIFEST])
    return found


def raw_manifest(files: Files, old: str, new: str) -> Files:
    """Return the files with other text in their manifest, which need be no JSON."""
    text = files[MANIFEST].decode()
    assert old in text
    return files | {MANIFEST: text.replace(old, new, 1).encode()}


def test_what_is_fine_is_taken(files: Files) -> None:
    assert taken(zipped(files)).name == "tiny"
    assert taken(zipped(files, zipfile.ZIP_DEFLATED)).name == "tiny"


# The zip.


@pytest.mark.parametrize("data", [b"", b"PK", b"x" * 100, b"PK\5\6" + bytes(18)])
def test_what_is_no_zip_or_an_empty_one(data: bytes) -> None:
    assert refusal(data)


def test_a_zip_that_ends_early(files: Files) -> None:
    whole = zipped(files)
    for length in (1, len(whole) // 2, len(whole) - 1):
        assert "no zip" in refusal(whole[:length])


@pytest.mark.parametrize(
    "name",
    [
        *("../member-00.safetensors", "/etc/passwd", "a/../../b", "a//b", "./a", "C:/windows"),
        *("a\\..\\b", "..", ".", "a\x00b", "a\x1b[31m", "a\u202eb", "x" * 1025),
    ],
)
def test_names_that_lead_elsewhere(files: Files, name: str) -> None:
    packed = entries(*files.items(), (name.replace("\0", "?"), b""))  # its writer cuts at a zero
    assert repr(name[:20])[1:-2] in refusal(packed.replace(b"a?b", b"a\0b"))


def test_an_entry_without_a_name(files: Files) -> None:
    assert "'' is no path" in refusal(entries(*files.items(), (zipfile.ZipInfo(""), b"x")))


def test_entries_that_are_no_files(files: Files) -> None:
    rest = [(name, data) for name, data in files.items() if name != MEMBER]
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR):
        link = entry(MEMBER, external_attr=(kind | 0o777) << 16)
        assert "neither a file nor a folder" in refusal(entries(*rest, (link, files[MEMBER])))
    assert "has also 'folder/'" in refusal(entries(*files.items(), ("folder/", b"")))


def test_two_entries_of_one_name(files: Files) -> None:
    assert "two entries" in refusal(entries(*files.items(), (MEMBER, files[MEMBER])))
    assert "two entries" in refusal(entries((MANIFEST, b"{}"), *files.items()))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_output_has_no_bound(files: Files, method: int) -> None:
    assert "neither stored nor deflated" in refusal(zipped(files, method))


def patched(data: bytes, name: str, offset: int, form: str, value: int) -> bytes:
    """Return an archive with another number in the directory's entry of a name."""
    changed = bytearray(data)
    at = data.rindex(name.encode()) - 46
    assert data[at : at + 4] == b"PK\1\2"
    struct.pack_into(form, changed, at + offset, value)
    return bytes(changed)


def test_an_encrypted_entry(files: Files) -> None:
    assert "encrypted" in refusal(patched(zipped(files), MEMBER, 8, "<H", 1))


def test_bombs(files: Files) -> None:
    zeros = zipped(files | {"zeros": bytes(MOST_BYTES)}, zipfile.ZIP_DEFLATED)
    assert "bytes unpacked" in refusal(zeros)
    # One that says it is small: no more comes out of it than it says.
    liar = zipped(files | {MEMBER: bytes(8 * MOST_BYTES)}, zipfile.ZIP_DEFLATED)
    liar = patched(liar, MEMBER, 24, "<I", len(files[MEMBER]))
    tracemalloc.start()
    try:
        assert MEMBER in refusal(liar)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    # And one that says it is large, and has nothing.
    boast = patched(zipped(files), MEMBER, 24, "<I", MOST_BYTES - 2**20)
    assert refusal(boast)


def test_an_entry_that_ends_early() -> None:
    packed = patched(zipped({"a": b"abc"}, zipfile.ZIP_DEFLATED), "a", 24, "<I", 5)
    archive = open_zip(io.BytesIO(packed), ZipLimits(9, 100, 2**16))
    with pytest.raises(InvalidArchive, match="3 bytes, not 5"):
        read_entry(archive, archive.infolist()[0])


def test_very_many_entries(files: Files) -> None:
    many = zipped(files | {f"x{number}": b"" for number in range(300)})
    assert "entries; at most 256" in refusal(many)
    directory = zipped({f"x{number}": b"" for number in range(60_000)})
    tracemalloc.start()
    try:
        assert "directory has more than" in refusal(directory)
        assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    finally:
        tracemalloc.stop()


def test_a_name_that_is_a_file_and_a_folder(files: Files) -> None:
    manifest = manifest_of(files)
    record, other = manifest["members"][:2]
    inside = f"{record['file']}/model.safetensors"
    both = {**files, inside: files[other["file"]]}
    del both[other["file"]]
    other["file"] = inside
    assert "is a file and a folder" in refusal(zipped(with_manifest(both, **manifest)))


def test_a_missing_file_and_one_too_many(files: Files) -> None:
    for name in files:
        rest = {each: data for each, data in files.items() if each != name}
        assert name in refusal(zipped(rest))
    assert "has also 'run.sh'" in refusal(zipped(files | {"run.sh": b""}))


def test_files_that_are_not_what_the_manifest_says(files: Files) -> None:
    for name in files.keys() - {MANIFEST}:
        other = files[name][:-1] + bytes([files[name][-1] ^ 1])
        assert f"{name}: its sha256 is" in refusal(zipped(files | {name: other}))
        assert f"{name}: has" in refusal(zipped(files | {name: files[name] + b"x"}))


# The manifest.


OF_SPLIT = {"validation": {"pictures": 1, "pooled": {"accuracy": 0.5}}}


ODD_METRICS: list[dict[str, Any]] = [
    {"calibrated": None},
    {"calibrated": {"nll": "1"}},
    {"members": [{}]},
    {"members": {}},
    {"by_members": [{"members": 1}]},
    {"diversity": 3},
]
ODD_REPORTS: list[dict[str, Any]] = [
    {"class_accuracy": {"red": "all"}},
    {"class_accuracy": None},
    {"confusions": [{"true": 0, "predicted": 10**6, "count": 1}]},
    {"confusions": [{"true": 0}]},
    {"confusion": {"over": "classes", "names": ["a"], "counts": [[1, 2]]}},
    {"reliability": {"pooled": []}},
    {"reliability": {"pooled": [{"low": 0}], "calibrated": []}},
]


def with_stated(**changes: Any) -> dict[str, Any]:
    found = doubt()
    found["conformal"]["stated"] = [found["conformal"]["stated"][0] | changes]
    return found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 4}, "format 4"),
        ({"format": None}, "format None"),
        ({"id": "../tiny"}, "id"),
        ({"id": ""}, "id"),
        ({"id": 3}, "id"),
        ({"id": "serving"}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"name": 3}, "name"),
        ({"network": "resnet9"}, "network"),
        ({"network": ["resnet8"]}, "missing or malformed"),
        ({"members": []}, "members"),
        ({"members": {}}, "members"),
        ({"classes": ["a", "a", "b", "c"]}, "classes"),
        ({"classes": ["a"]}, "classes"),
        ({"size": 2**40}, "size"),
        ({"size": 32.5}, "size"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": "1"}, "missing or malformed"),
        ({"normalisation": {"mean": [0, 0, 0], "std": [1, 1, 0]}}, "std"),
        ({"recipe": []}, "missing or malformed"),
        ({"recipe": {"validation_fraction": "all"}}, "validation_fraction"),
        ({"dataset": {"name": "noise"}}, "digest"),
        ({"dataset": {"name": "noise", "digest": 3}}, "dataset"),
        ({"teachers": [3]}, "teachers"),
        ({"metrics": {}}, "validation"),
        ({"metrics": {"validation": {"pooled": {"accuracy": 0.5}}}}, "pictures"),
        ({"metrics": {"validation": {"pictures": 1, "pooled": {"accuracy": "1"}}}}, "malformed"),
        ({"metrics": {"validation": {"pictures": 1, "pooled": {"accuracy": 7}}}}, "validation"),
        ({"metrics": OF_SPLIT | {"test": 3}}, "metrics.test"),
        ({"metrics": OF_SPLIT | {"test": {"pictures": 1}}}, "metrics.test"),
        *(
            ({"metrics": {"validation": OF_SPLIT["validation"] | odd}}, "metrics.validation")
            for odd in ODD_METRICS
        ),
        ({"created_at": 3}, "must be str"),
        ({"created_at": "yesterday"}, "yesterday"),
        ({"created_at": "2026-01-01T00:00:00"}, "created_at"),
        ({"proofs": {"openvino-int8": {"pictures": 1}}}, "Proof"),
        ({"proofs": []}, "missing or malformed"),
        ({"quantisation": {"stages.0.0.first": "much"}}, "quantisation"),
        ({"quantisation": {"stages.0.0.first": -1}}, "quantisation"),
        ({"doubt": {"conformal": None}}, "doubt"),
        ({"doubt": {"conformal": {}, "cascade": None, "outside": None}}, "doubt.conformal"),
        *(
            ({"doubt": with_stated(**{field: odd})}, f"stated.{field}")
            for field, odd in (("rate", 0), ("coverage", 1.5), ("mean_size", -1), ("pictures", 2.5))
        ),
        ({"predictions": {"validation": None}}, "missing or malformed"),
        ({"report": {"file": "manifest.json", "sha256": "0" * 64, "bytes": 1}}, "twice"),
        ({"report": {"file": "../x", "sha256": "0" * 64, "bytes": 1}}, "vouches"),
        ({"report": {"file": "report.json", "sha256": "0", "bytes": 1}}, "vouches"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_manifest_that_none_could_have_published(
    files: Files, changes: dict[str, Any], says: str
) -> None:
    assert says in refusal(zipped(with_manifest(files, **changes)))


@pytest.mark.parametrize(
    "report",
    [
        *([], 3, {"curves": []}, {"splits": []}, {"splits": {"test": []}}),
        *({"splits": {"test": odd}} for odd in ODD_REPORTS),
    ],
)
def test_a_report_that_none_could_have_published(files: Files, report: Any) -> None:
    told = refusal(zipped(vouched(files, "report.json", json.dumps(report).encode())))
    assert told.startswith("report.json: a field is missing or malformed: ")


@pytest.mark.parametrize(
    "value",
    [
        *("NaN", "Infinity", "-Infinity", "1e999", "9" * 400, '"\\ud800"', "[" * 40 + "]" * 40),
        *('{"a": 1, "a": 2}', "[" * 100_000 + "]" * 100_000, "1" * 5000, "'", ""),
    ],
)
def test_what_python_calls_json_and_nobody_else(files: Files, value: str) -> None:
    told = refusal(zipped(raw_manifest(files, '"recipe": {', f'"recipe": {{"x": {value}, ')))
    assert told.startswith("manifest.json: ")
    report = b'{"x": ' + value.encode() + b"}"
    told = refusal(zipped(vouched(files, "report.json", report)))
    assert told.startswith("report.json: ")


def test_a_manifest_that_is_no_object_or_far_too_long(files: Files) -> None:
    for data in (b"", b"[]", b"\xff", b"null", b"\0"):
        assert MANIFEST in refusal(zipped(files | {MANIFEST: data}))
    assert "more than" in refusal(
        zipped(files | {MANIFEST: b" " * (2**24 + 1), MEMBER: b""}, zipfile.ZIP_DEFLATED)
    )


def test_a_cascade_for_other_members(files: Files) -> None:
    half = {"pictures": 9, "mean_members": 1.5, "accuracy_lost": 0.0, "accuracy_lost_error": 0.0}
    half["agreement"] = 1.0
    cascade = {"thresholds": [0.5, 0.5], "halves": [half, half]}
    doubt = {"conformal": None, "cascade": cascade, "outside": None}
    assert "cascade.thresholds" in refusal(zipped(with_manifest(files, doubt=doubt)))
    cascade["thresholds"] = [0.5]
    assert taken(zipped(with_manifest(files, doubt=doubt)))


# The weights.


def header_of(length: int, header: bytes) -> bytes:
    return struct.pack("<Q", length) + header


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        header_of(2**63, b"{}"),
        header_of(2**40, b"{}"),
        header_of(2, b"{}"),
        header_of(2, b"[]"),
        header_of(1, b"\xff"),
        header_of(
            73, b'{"x":{"dtype":"F32","shape":[9999999999,9999999999],"data_offsets":[0,4]}}'
        ),
        header_of(54, b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}') + bytes(3),
        header_of(54, b'{"x":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}') + bytes(4),
        header_of(54, b'{"x":{"dtype":"F4 ","shape":[1],"data_offsets":[0,4]}}') + bytes(4),
        save({"x": torch.zeros(3)}),
    ],
)
@pytest.mark.parametrize("file", [MEMBER, PREDICTIONS])
def test_weights_and_predictions_that_are_none(files: Files, file: str, weights: bytes) -> None:
    padded = weights + bytes(len(files[file]))  # as long as they would have to be
    for data in (weights, padded):
        assert refusal(zipped(vouched(files, file, data))).startswith(file)


def changed(files: Files, file: str, change: Callable[[dict[str, torch.Tensor]], None]) -> Files:
    tensors = load(files[file])
    change(tensors)
    return vouched(files, file, save(tensors))


def test_weights_of_another_network(files: Files) -> None:
    def of_another_type(tensors: dict[str, torch.Tensor]) -> None:
        name = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
        tensors[name] = tensors[name].double()

    def one_more(tensors: dict[str, torch.Tensor]) -> None:
        tensors["more"] = torch.zeros(1)

    for change in (of_another_type, one_more):
        assert refusal(zipped(changed(files, MEMBER, change))).startswith(MEMBER)
    wider = with_manifest(files, network="resnet110x10")
    assert "a resnet110x10 of 4 classes has" in refusal(zipped(wider))
    many = with_manifest(files, classes=[f"class {number}" for number in range(500_000)])
    assert "of 500,000 classes has" in refusal(zipped(many))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_weights_that_answer_with_no_probabilities(files: Files, value: float) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        for tensor in tensors.values():
            if tensor.ndim == 2:
                tensor.fill_(value)

    assert "no probability" in refusal(zipped(changed(files, MEMBER, spoil)))


def test_predictions_of_another_ensemble(files: Files) -> None:
    for tensor in (torch.zeros(3, 5, 4), torch.zeros(2, 5, 3), torch.zeros(2, 4)):
        data = save({"log_probabilities": tensor})
        assert PREDICTIONS in refusal(zipped(vouched(files, PREDICTIONS, data)))
    half = save({"log_probabilities": torch.zeros(2, 5, 4).half()})
    assert "float16" in refusal(zipped(vouched(files, PREDICTIONS, half)))
    nan = save({"log_probabilities": torch.full((2, 5, 4), float("nan"))})
    assert "no number" in refusal(zipped(vouched(files, PREDICTIONS, nan)))


# Whatever else there may be.


def mutated(data: bytes, chance: random.Random, near: int) -> bytes:
    """Return an archive with some bytes changed, most of them in what surrounds its files."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) - near, len(data)) if chance.random() < 0.7 else (
            chance.randrange(200)
        )  # fmt: skip
        changed[at] = chance.choice([0, 1, 0x7F, 0xFF, chance.randrange(256)])
    if chance.random() < 0.1:
        del changed[chance.randrange(len(changed)) :]
    return bytes(changed)


def test_mutations_are_taken_or_refused_and_nothing_else(files: Files) -> None:
    chance, refused, data = random.Random(1), 0, zipped(files)
    directory = len(data) - data.index(b"PK\1\2")
    for _ in range(1500):
        try:
            open_archive(io.BytesIO(mutated(data, chance, directory)), MOST_BYTES)
        except InvalidArchive:
            refused += 1
    assert refused > 750


def test_nothing_is_left_of_what_was_refused(
    tmp_path: Path, redis_url: str, files: Files, store: Store
) -> None:
    bad = [
        b"",
        zipped(files | {"../x": b""}),
        zipped(vouched(files, MEMBER, b"")),
        zipped(with_manifest(files, id="..")),
        zipped(with_manifest(files, quantisation={"x": None})),
        zipped(with_manifest(files, created_at=None)),
        zipped(with_manifest(files, metrics={"validation": {"pictures": 1, "pooled": {
            "accuracy": 0.5}}, "test": 3})),
    ]  # fmt: skip
    with running(settings_for(tmp_path, redis_url)) as client:
        before = client.get("/ensembles").json()
        for data in bad:
            response = client.post(
                "/ensembles", content=data, headers={"Content-Type": "application/zip"}
            )
            problem_of(response, 422, "invalid-archive")
        assert client.get("/ensembles").json() == before
    assert store.files.list("ensembles") == []
    assert [path.name for path in tmp_path.rglob("*.part")] == []


def test_an_archive_that_changes_under_the_hand_leaves_nothing(
    tmp_path: Path, files: Files, store: Store
) -> None:
    path = tmp_path / "archive.zip"
    path.write_bytes(zipped(files))
    with path.open("r+b") as file:
        arrival = open_archive(file, MOST_BYTES)
        file.seek(1000)
        file.write(bytes(1000))
        file.flush()
        with pytest.raises(InvalidArchive):
            take_in(arrival, store)
    assert store.files.list("ensembles") == []
    assert not any(Path(store.files.path("ensembles")).glob("*"))
