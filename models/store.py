"""The store: where checkpoints, teachers and finished ensembles are kept.

::

    ensembles/<id>/manifest.json            exists last; an ensemble without it does not exist
    ensembles/<id>/member-00.safetensors    weights of one member
    ensembles/<id>/report.json              learning curves, reliability, confusion
    ensembles/<id>/validation.safetensors   log-probabilities of every member, [m, n, k]
    teachers/<digest>/                      kept under the digest of what produced it
    answers/<digest>/                       a teacher's logits for views that are kept
    runs/<run>/<recipe>/member-00/          checkpoints of a member, and what it left when finished
    jobs/<id>/                              what was asked for, and how it ended
    datasets/<digest>.safetensors           decoded pictures
    engines/<id>/                           which engines answer for it, by kind of machine
    serving.json                            which ensemble answers POST /predict
"""

import hashlib
import itertools
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from models.artefacts import (
    FileRecord,
    check_bytes,
    json_bytes,
    read_json,
    read_network,
    read_tensors,
    write_json,
    write_tensors,
)
from models.ensemble import Ensemble, EnsembleManifest, manifest_from_dict
from models.errors import CorruptArtefact, EnsembleNotFound
from models.files import Files
from models.names import ID_PATTERN

_log = logging.getLogger(__name__)

RELEASE_FOLDER = Path(__file__).parent / "release"
"""The ensemble that ships with the code, in the layout of ``ensembles/``; read only."""

MANIFEST = "manifest.json"
"""Of an ensemble, which exists when this does."""

REPORT = "report.json"
"""Of an ensemble: what was learned when, and how well its confidence can be trusted."""


class Store:
    """Ensembles by id: those of the store itself and the releases that ship with the code.

    Args:
        root: a local path or fsspec URL.
        release: folder of the shipped ensembles.
    """

    def __init__(self, root: str | Path, release: Path = RELEASE_FOLDER) -> None:
        self.files = Files(root)
        self._release = Files(release)

    def ensembles(self) -> list[EnsembleManifest]:
        """Return the manifests of all ensembles, newest first.

        One with a damaged manifest is logged and left out, so that the others can still be seen.
        """
        # A set, since the release may have been made here and lie in the store too.
        found: list[EnsembleManifest] = []
        for id_ in {*_finished(self.files, "ensembles"), *_finished(self._release, ".")}:
            try:
                found.append(self.manifest(id_))
            except CorruptArtefact as error:
                told = "ensemble %s is left out of the list: %s"
                _log.error(told, id_, error, extra={"ensemble": id_})
        return sorted(found, key=lambda manifest: (manifest.created_at, manifest.id), reverse=True)

    def manifest(self, id_: str) -> EnsembleManifest:
        """Return the manifest of one ensemble.

        Raises:
            EnsembleNotFound: there is none with this id.
            CorruptArtefact: its manifest cannot be read.
        """
        files, folder = self.locate(id_)
        name = f"{folder}/{MANIFEST}"
        return manifest_from_dict(read_json(files, name), files.path(name))

    def load(self, id_: str) -> Ensemble:
        """Load an ensemble with all its members, checking digests and shapes.

        Raises:
            EnsembleNotFound: there is none with this id.
            CorruptArtefact: a file is not what its manifest says.
        """
        files, folder = self.locate(id_)
        manifest = self.manifest(id_)
        members = [
            read_network(files, folder, record, manifest.network, len(manifest.classes))
            for record in manifest.members
        ]
        return Ensemble(manifest, members)

    def predictions(self, id_: str, split: str) -> Tensor:
        """Return the saved log-probabilities of every member, float32 [m, n, k].

        Raises:
            EnsembleNotFound: there is no such ensemble, or it keeps none for this split.
            CorruptArtefact: the file is not what the manifest says.
        """
        files, folder = self.locate(id_)
        record = self.manifest(id_).predictions.get(split)
        if record is None:
            raise EnsembleNotFound(f"ensemble {id_} keeps no predictions for {split!r}")
        return read_tensors(files, folder, record)["log_probabilities"]

    def publish(
        self,
        manifest: EnsembleManifest,
        members: Sequence[Mapping[str, Tensor]],
        predictions: Mapping[str, Tensor],
        report: Mapping[str, Any] | None = None,
    ) -> EnsembleManifest:
        """Write an ensemble, its manifest last, and return the manifest with id and records.

        The id is the name and the first digits of a digest over pictures, weights and
        predictions, so the same ensemble published twice is there once, as it was first written.

        Args:
            manifest: complete but for ``id``, ``members``, ``predictions`` and ``report``.
            members: state dict of each member; asked for one after the other, twice.
            predictions: log-probabilities float32 [m, n, k] by split.
            report: JSON-ready; see ``training.report``.

        Raises:
            StoreFull: no space left; the ensemble does not exist.
        """
        digest = hashlib.sha256(f"{manifest.name}\n{manifest.dataset['digest']}".encode())
        for tensors in itertools.chain(members, [predictions]):
            for key, tensor in sorted(tensors.items()):  # files have no order of their own
                digest.update(key.encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        id_ = f"{manifest.name}-{digest.hexdigest()[:8]}"
        folder = f"ensembles/{id_}"
        if self.files.exists(f"{folder}/{MANIFEST}"):
            return self.manifest(id_)
        written = replace(
            manifest,
            id=id_,
            members=tuple(
                write_tensors(self.files, folder, f"member-{index:02d}.safetensors", member)
                for index, member in enumerate(members)
            ),
            predictions={
                split: write_tensors(
                    self.files, folder, f"{split}.safetensors", {"log_probabilities": tensor}
                )
                for split, tensor in predictions.items()
            },
            report=None if report is None else self._write_report(folder, report),
        )
        self.files.create(f"{folder}/{MANIFEST}", json_bytes(written.to_dict()))
        return self.manifest(id_)

    def _write_report(self, folder: str, report: Mapping[str, Any]) -> FileRecord:
        data = json_bytes(report)
        self.files.write(f"{folder}/{REPORT}", data)
        return FileRecord(REPORT, hashlib.sha256(data).hexdigest(), len(data))

    def report(self, id_: str) -> dict[str, Any]:
        """Return an ensemble's learning curves, reliability and confusion.

        Raises:
            EnsembleNotFound: there is no such ensemble, or it keeps no report.
            CorruptArtefact: the file is not what the manifest says.
        """
        files, folder = self.locate(id_)
        record = self.manifest(id_).report
        if record is None:
            raise EnsembleNotFound(f"ensemble {id_} keeps no report")
        check_bytes(files, folder, record)
        return read_json(files, f"{folder}/{record.file}")

    def export(self, id_: str, folder: Path, new_id: str) -> EnsembleManifest:
        """Copy an ensemble out of the store as a release: without its saved predictions.

        Args:
            id_: the ensemble.
            folder: of releases; the copy goes to ``folder/new_id``.
            new_id: what it is called from now on.

        Raises:
            EnsembleNotFound: there is none with this id.
            CorruptArtefact: a file is not what its manifest says.
        """
        ensemble = self.load(id_)  # nothing damaged is to be released
        files, source = self.locate(id_)
        target = Files(folder)
        # A folder for each member, with one name for all weights: as model hubs have them.
        members = tuple(
            replace(record, file=f"member-{index:02d}/model.safetensors")
            for index, record in enumerate(ensemble.manifest.members)
        )
        manifest = replace(
            ensemble.manifest, id=new_id, name=new_id, members=members, predictions={}
        )
        copies = [*zip(ensemble.manifest.members, members, strict=True)]
        if manifest.report:
            copies.append((manifest.report, manifest.report))
        for kept, copy in copies:
            target.write(f"{new_id}/{copy.file}", files.read(f"{source}/{kept.file}"))
        write_json(target, f"{new_id}/{MANIFEST}", manifest.to_dict())
        return manifest

    def serving(self) -> str | None:
        """Return the id of the ensemble that is to answer, or none if there is no ensemble.

        Until one was chosen it is the main release.
        """
        try:
            return str(read_json(self.files, "serving.json")["ensemble"])
        except FileNotFoundError:
            return self.main_release()
        except KeyError as error:
            where = self.files.path("serving.json")
            raise CorruptArtefact(f"{where}: names no ensemble") from error

    def main_release(self) -> str | None:
        """Return the id of the ensemble that ships with the code, if any does.

        Of several it is the one with most members, and of those the newest: a single network that
        was distilled from an ensemble is newer, and ships beside it.
        """
        releases = [self.manifest(id_) for id_ in _finished(self._release, ".")]
        main = max(releases, key=lambda each: (len(each.members), each.created_at), default=None)
        return main.id if main else None

    def serve(self, id_: str) -> None:
        """Make an ensemble the serving one; every API process follows within seconds.

        Raises:
            EnsembleNotFound: there is none with this id.
        """
        self.locate(id_)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(self.files, "serving.json", {"ensemble": id_, "since": since})

    def locate(self, id_: str) -> tuple[Files, str]:
        """Return where an ensemble is: files, and the folder in them.

        Raises:
            EnsembleNotFound: there is none with this id.
        """
        if re.fullmatch(ID_PATTERN, id_):
            for files, folder in ((self.files, f"ensembles/{id_}"), (self._release, id_)):
                if files.exists(f"{folder}/{MANIFEST}"):
                    return files, folder
        raise EnsembleNotFound(f"no ensemble has the id {id_!r}")


def _finished(files: Files, folder: str) -> list[str]:
    """Return the ids of the ensembles in a folder: names that may be ids, and have a manifest."""
    return [
        id_
        for id_ in files.list(folder)
        if re.fullmatch(ID_PATTERN, id_) and files.exists(f"{folder}/{id_}/{MANIFEST}")
    ]
