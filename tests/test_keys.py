"""Keys come from the settings, are checked before anything starts, and are kept as digests."""

from pathlib import Path

import pytest

from app.keys import InvalidKeys, Keyring, read_keyring
from app.settings import Settings

ONE, OTHER, THIRD = (
    "one.one.one.one.one.one",
    "other~other~other~other==",
    "third/third+third-third",
)


def keyring(written: str | None = None, file: Path | None = None) -> Keyring:
    found = read_keyring(Settings.model_validate({"api_keys": written, "api_keys_file": file}))
    assert found is not None
    return found


def test_no_key_is_asked_for_where_none_is_set() -> None:
    assert read_keyring(Settings()) is None


@pytest.mark.parametrize("between", [" ", ",", ", ", "\n", "\n# the next one\n"])
def test_keys_stand_apart_by_commas_or_whitespace(between: str) -> None:
    keys = keyring(f"web:predict:{ONE}{between}ops:train+admin:{OTHER}").keys
    assert [(key.name, sorted(key.scopes)) for key in keys] == [
        ("web", ["predict"]),
        ("ops", ["admin", "train"]),
    ]


def test_a_key_is_found_by_all_of_it_and_nothing_else() -> None:
    found = keyring(f"web:predict:{ONE} ops:admin:{OTHER}")
    for name, key in (("web", ONE), ("ops", OTHER)):
        known = found.find(key.encode())
        assert known is not None
        assert known.name == name
    for key in ("", ONE[:-1], ONE + "x", ONE.upper(), f"web:predict:{ONE}"):
        assert found.find(key.encode()) is None
    assert found.find(found.keys[0].digest) is None


def test_keys_of_a_file_are_known_beside_those_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# of the group\nweb:predict:{ONE}\n\n  # of the night\nops:admin:{OTHER}\n")
    assert [key.name for key in keyring(file=file).keys] == ["web", "ops"]
    assert [key.name for key in keyring(f"me:train:{THIRD}", file).keys] == ["me", "web", "ops"]


def test_only_digests_are_kept() -> None:
    assert ONE not in repr(keyring(f"web:predict:{ONE}"))


def test_an_administrator_may_do_everything_and_others_what_is_said() -> None:
    admin, web = keyring(f"ops:admin:{ONE} web:predict:{OTHER}").keys
    assert [admin.allows("predict"), admin.allows("train"), admin.allows("admin")] == [True] * 3
    assert [web.allows("predict"), web.allows("train"), web.allows("admin")] == [True, False, False]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "holds no key"),
        (" ,\n# nothing", "holds no key"),
        (ONE, "write name:scope:key"),
        (f"web:{ONE}", "write name:scope:key"),
        (f"web:predict:{ONE}:x", "write name:scope:key"),
        (f"Web:predict:{ONE}", "a name has"),
        (f"{'w' * 33}:predict:{ONE}", "a name has"),
        (f":predict:{ONE}", "a name has"),
        (f"web:{ONE}:predict", "the scopes are predict, train, admin"),
        (f"web:predict+:{ONE}", "the scopes are"),
        (f"web::{ONE}", "the scopes are"),
        ("web:predict:short", "a key has at least 20"),
        (f"web:predict:{ONE[:19]}", "a key has at least 20"),
        (f"web:predict:{ONE}é", "a key has at least 20"),
        (f"web:predict:{ONE} web:train:{OTHER}", "entry 2: another key has this name"),
        (f"web:predict:{ONE} ops:train:{ONE}", "entry 2: another name has this key"),
    ],
)
def test_what_is_no_key_is_refused_without_being_told(written: str, reason: str) -> None:
    with pytest.raises(InvalidKeys, match=r"^STILLHOUSE_API_KEYS") as refused:
        keyring(written)
    assert reason in str(refused.value)
    assert ONE not in str(refused.value)
    assert "short" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeys, match=r"STILLHOUSE_API_KEYS_FILE.*nothing.*No such file"):
        keyring(file=tmp_path / "nothing")
    (tmp_path / "keys").write_bytes(b"web:predict:\xc3\xa9")
    with pytest.raises(InvalidKeys, match="keys has other characters than ASCII"):
        keyring(file=tmp_path / "keys")
