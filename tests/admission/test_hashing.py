"""How secrets are hashed, and where the hash key is kept."""

import pytest

from dragoman.admission.hashing import SHORTEST_CHARACTERS, check_value, hashed, read_hash_key
from dragoman.faults import Misconfigured
from dragoman.people import Secret


def test_item_1_a_hash_depends_on_the_secret_and_on_the_hash_key() -> None:
    one = hashed(Secret("dgk_x"), bytes(32))
    assert len(one) == 32
    assert hashed(Secret("dgk_x"), bytes(32)) == one
    assert len({one, hashed(Secret("dgk_y"), bytes(32)), hashed(Secret("dgk_x"), b"k" * 32)}) == 3
    assert check_value(bytes(32)) != check_value(b"k" * 32)


def test_any_text_has_a_hash() -> None:
    for text in ("", "\ud800", "\0", "ключ", "x" * 1_000_000):
        assert len(hashed(Secret(text), bytes(32))) == 32


def test_item_1_the_hash_key_is_a_file_of_its_own_and_the_same_text_is_the_same_key(tmp_path) -> None:
    made_key = read_hash_key(tmp_path / "data", None)
    file = tmp_path / "data" / "hash.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(made_key) == 32
    assert read_hash_key(tmp_path / "data", None) == made_key
    assert [found.name for found in (tmp_path / "data").iterdir()] == ["hash.key"]
    assert read_hash_key(tmp_path / "elsewhere", Secret(file.read_text().strip())) == made_key
    assert not (tmp_path / "elsewhere").exists()
    file.write_text("too short")
    with pytest.raises(Misconfigured, match=r"hash\.key"):
        read_hash_key(tmp_path / "data", None)
    with pytest.raises(Misconfigured, match=r"auth\.hash_key"):
        read_hash_key(tmp_path, Secret("x" * (SHORTEST_CHARACTERS - 1)))
