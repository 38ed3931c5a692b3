import pytest

from dragoman.admission.passwords import LARGEST_BYTES, Passwords, checked_name, checked_password, folded, is_possible
from dragoman.faults import StoreFailed
from dragoman.people import Secret

PASSWORD = Secret("correct horse battery")


@pytest.mark.parametrize("name", ["a", "张三", "alice@example.org", "two words", "x" * 200, "oidc", "a:b", "O'Hara"])
def test_a_good_name(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "1 to 200"),
        ("x" * 201, "1 to 200"),
        ("a\nb", "control"),
        ("a\x1b[31mb", "control"),
        ("a\0", "control"),
        ("a\udcff", "control"),
        ("\u202eb", "control"),
        (" a", "space"),
        ("a ", "space"),
        (" ", "space"),
        ("oidc:7@issuer", "begin"),
        ("OIDC:7@issuer", "begin"),
        ("oidc-name:7", "begin"),
        ("\uff4f\uff49\uff44\uff43\uff1a7", "begin"),  # full-width letters, which fold to ASCII
    ],
)
def test_a_bad_name_is_told_why(name: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        checked_name(name)


def test_a_name_has_one_form_and_its_spellings_one_fold() -> None:
    assert checked_name("Jose\u0301") == "Jos\u00e9"
    assert folded("JOSE\u0301") == folded("jos\u00e9")


def test_a_password_is_long_enough_and_not_too_long() -> None:
    assert checked_password("12345678").reveal() == "12345678"
    assert is_possible(checked_password("x" * LARGEST_BYTES))
    with pytest.raises(ValueError, match="at least 8"):
        checked_password("1234567")
    with pytest.raises(ValueError, match="at least 8"):
        checked_password("e\u0301" * 7)
    for text in ("x" * (LARGEST_BYTES + 1), "é" * LARGEST_BYTES, "x" * 9 + "\udcff"):
        with pytest.raises(ValueError, match="at most 1024"):
            checked_password(text)
        assert not is_possible(Secret(text))
    assert not is_possible(Secret(""))


def test_a_digest_fits_its_password_alone() -> None:
    passwords = Passwords()
    digest = passwords.digest(Secret("caf\u00e9 au lait"))
    assert digest.startswith("$argon2id$")
    assert digest != passwords.digest(Secret("caf\u00e9 au lait"))
    assert passwords.fits(digest, Secret("cafe\u0301 au lait"))
    for wrong in ("", "Caf\u00e9 au lait", "caf\u00e9 au lait ", "cafe au lait"):
        assert not passwords.fits(digest, Secret(wrong))


@pytest.mark.parametrize("text", ["", "anything", "x" * 100])
def test_nobody_has_no_password(text: str) -> None:
    assert not Passwords().fits(None, Secret(text))


def test_not_even_the_password_that_stands_for_nobody() -> None:
    passwords = Passwords()
    passwords.__dict__["_nobody"] = passwords.digest(PASSWORD)
    assert passwords.fits(passwords._nobody, PASSWORD)
    assert not passwords.fits(None, PASSWORD)


@pytest.mark.parametrize("digest", ["not a digest", "$argon2id$v=19$m=65536,t=3,p=4$YQ$YQ", "plain password"])
def test_what_is_no_digest_is_the_stores_fault(digest: str) -> None:
    with pytest.raises(StoreFailed) as caught:
        Passwords().fits(digest, Secret("plain password"))
    assert "password" not in caught.value.detail
