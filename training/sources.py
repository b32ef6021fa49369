"""Where the pictures of a data set lie: folders, zip archives, or torchvision's CIFAR-100.

Nothing is decoded here; archives are read in place. What is found is one tree of split, class and
picture, checked for what training needs: two classes or more, none empty, the same in each split.
"""

import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import InvalidDataset

SPLITS = ("train", "val", "test")
_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # left behind by file managers


@dataclass(frozen=True)
class Entry:
    """A file or folder of the tree, wherever it lies.

    Attributes:
        parts: its place in the tree, such as ``("train", "apple", "1.png")``.
        where: for messages: its path, or ``archive!/entry``.
        read: returns its bytes; none for a folder.
    """

    parts: tuple[str, ...]
    where: str
    read: Callable[[], bytes] | None


Tree = dict[str, dict[str, dict[str, Entry]]]
"""Pictures by split, class and file name."""


def find_pictures(name: str, folder: Path, archives: ExitStack) -> tuple[list[Path], Tree]:
    """Return the files that a data set consists of, and the pictures in them.

    Args:
        name: ``<name>`` of ``folder/<name>/`` or ``folder/<name>.zip``; ``cifar100`` is downloaded
            into ``folder`` where neither is there.
        folder: the folder of data sets.
        archives: keeps archives open for as long as pictures are to be read.

    Raises:
        InvalidDataset: it is missing or malformed; names the file or folder.
        OSError: a file or folder cannot be opened.
    """
    check_name(name)
    files, entries = _find(name, folder, archives)
    tree = _tree(entries)
    _check(tree, folder / name)
    return files, tree


def check_archive(path: Path, name: str) -> None:
    """Refuse an archive that would be no data set, whatever pictures there are in it.

    Args:
        path: of the archive, a zip.
        name: what messages call it.

    Raises:
        InvalidDataset: naming the entry.
    """
    with ExitStack() as archives:
        try:
            _check(_tree(_archived(path, archives)), Path(name))
        except InvalidDataset as error:
            raise InvalidDataset(str(error).replace(str(path), name)) from error


def check_name(name: str) -> None:
    """Refuse a name that is more, or less, than one part of a path.

    Raises:
        InvalidDataset: quoting it.
    """
    has_tricks = name.startswith(".") or "/" in name or "\\" in name
    # isprintable also refuses NUL and what no file system can encode
    if not name or has_tricks or not name.isprintable() or len(name.encode()) > 200:
        raise InvalidDataset(f"{name!r} is no name of a data set: it must be that of one folder")


def is_torchvisions(name: str, folder: Path) -> bool:
    """Say whether a data set is CIFAR-100 as torchvision downloads it: nobody has put one there."""
    is_there = (folder / name).exists() or (folder / f"{name}.zip").is_file()
    return name == "cifar100" and not is_there


def _find(name: str, folder: Path, archives: ExitStack) -> tuple[list[Path], list[Entry]]:
    inside = list(_below(folder / name)) if (folder / name).is_dir() else []
    files = [Path(entry.where) for entry in inside if entry.read]
    beside = folder / f"{name}.zip"
    if beside.is_file():
        files.append(beside)
    if is_torchvisions(name, folder):
        downloaded = list(_torchvision_cifar100(folder))
        return sorted((folder / "cifar-100-python").iterdir()), downloaded
    if not files:
        raise InvalidDataset(f"{folder / name}: there is no such folder with pictures, nor a .zip")

    zips = [f for f in files if f.suffix.lower() == ".zip" and f.parent in (folder, folder / name)]
    packed = [entry for path in zips for entry in _archived(path, archives)]
    return files, inside + packed


def _below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Entry]:
    for path in sorted(folder.iterdir()):
        parts = (*above, path.name)
        if is_hidden(path.name):
            continue
        if path.is_dir():
            yield Entry(parts, str(path), None)
            if len(parts) < 3:  # deeper is an error anyway, and a link may lead in circles
                yield from _below(path, parts)
        else:
            yield Entry(parts, str(path), path.read_bytes)


def _archived(path: Path, archives: ExitStack) -> list[Entry]:
    try:
        archive = archives.enter_context(zipfile.ZipFile(path))
    # damaged names are a UnicodeDecodeError, a version that is none a NotImplementedError
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
        raise InvalidDataset(f"{path}: is no zip archive, or a damaged one: {error}") from error
    one_at_a_time = threading.Lock()  # ZipFile counts its readers without one

    def read(info: zipfile.ZipInfo) -> bytes:
        with one_at_a_time:
            return archive.read(info)

    entries = []
    for info in archive.infolist():
        parts = PurePosixPath(info.filename).parts
        if parts and not any(map(is_hidden, parts)):
            reader = None if info.is_dir() else partial(read, info)
            entries.append(Entry(parts, f"{path}!/{info.filename}", reader))

    # zipping a folder, rather than what is in it, puts one more folder around the tree
    tops = {entry.parts[0] for entry in entries if entry.read is None or len(entry.parts) > 1}
    if len(tops) == 1 and not tops & set(SPLITS):
        entries = [Entry(e.parts[1:], e.where, e.read) for e in entries if e.parts[0] in tops]
    return [entry for entry in entries if entry.parts]


def is_hidden(name: str) -> bool:
    """Say whether a file or folder of this name is left out, wherever it lies."""
    return name.startswith(".") or name in _IGNORED


def _torchvision_cifar100(folder: Path) -> Iterator[Entry]:
    # costs seconds to import and is rarely needed
    from torchvision.datasets import CIFAR100  # type: ignore[import-untyped]  # noqa: PLC0415

    try:
        train = CIFAR100(str(folder), train=True, download=True)
        test = CIFAR100(str(folder), train=False)
    except (OSError, RuntimeError) as error:  # no network (URLError), no space, wrong checksum
        raise InvalidDataset(
            f"{folder / 'cifar100'}: is not there, and CIFAR-100 could not be downloaded "
            f"({error}). Put its pictures there as train/<class>/<picture> and "
            "test/<class>/<picture>, or as zips of that tree"
        ) from error
    for split, rows in (("train", train), ("test", test)):
        for row, (pixels, label) in enumerate(zip(rows.data, rows.targets, strict=True)):
            parts = (split, rows.classes[label], f"{row}.png")
            where = f"{folder / 'cifar-100-python' / split}, row {row}"
            yield Entry(parts, where, partial(_png, pixels))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode pixels as a file, so that every source goes through the one decoder."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


def _tree(entries: Iterable[Entry]) -> Tree:
    tree: Tree = {}
    for entry in entries:
        match entry.parts:
            case [_] if entry.read:
                continue  # a README, or one of the archives
            case [split, *_] if split not in SPLITS:
                raise InvalidDataset(f"{entry.where}: {split!r} is none of {', '.join(SPLITS)}")
            case [split]:
                tree.setdefault(split, {})
            case [split, label] if entry.read is None:
                tree.setdefault(split, {}).setdefault(label, {})
            case [split, label, picture] if entry.read:
                pictures = tree.setdefault(split, {}).setdefault(label, {})
                if picture in pictures:
                    raise InvalidDataset(f"{entry.where}: is also {pictures[picture].where}")
                pictures[picture] = entry
            case _:
                raise InvalidDataset(f"{entry.where}: must be <split>/<class>/<picture>")
    return tree


def _check(tree: Tree, where: Path) -> None:
    if not tree.get("train"):
        raise InvalidDataset(f"{where}: has no train folder with a folder per class")
    for split, classes in tree.items():
        for label, pictures in classes.items():
            if not pictures:
                raise InvalidDataset(f"{where / split / label}: has no pictures in it")
    train = tree["train"].keys()
    if len(train) < 2:
        raise InvalidDataset(f"{where / 'train'}: has one class, {min(train)!r}; needs two or more")
    for split in tree.keys() - {"train"}:
        missing, extra = train - tree[split].keys(), tree[split].keys() - train
        if missing or extra:
            differences = [f"missing {_names(missing)}"] * bool(missing)
            differences += [f"extra {_names(extra)}"] * bool(extra)
            raise InvalidDataset(
                f"{where / split}: must have the classes of train: {'; '.join(differences)}"
            )


def _names(names: set[str]) -> str:
    shown = sorted(names)[:10]
    return ", ".join(shown) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
