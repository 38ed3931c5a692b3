from dragoman.people import Principal, Secret
from dragoman.routes import Credential


def test_a_secret_is_not_seen() -> None:
    secret = Secret("sk-very-secret-value")
    for seen in (repr(secret), str(secret), f"{secret}", repr(Credential(secret)), repr([secret])):
        assert "very-secret" not in seen
    assert secret.tail == "alue"
    assert Secret("short").tail == ""
    assert secret.reveal() == "sk-very-secret-value"


def test_patterns() -> None:
    assert Principal("a").may_use("anything/at all")
    assert Principal("a", ("gpt-*",)).may_use("gpt-4o")
    assert not Principal("a", ("gpt-*",)).may_use("GPT-4o")
