"""The way to a provider: through a proxy with a password, and over TLS that is always verified."""

import datetime as dt

import pytest
import trustme
from asking import OFF, complete
from doors import proxying, securing

from upstream import stream, unary

PASSWORD = "pw-canary-31"


def config(base_url, *lines):
    return "\n".join(
        [
            OFF,
            '[auth]\nkeys = ["test-key"]',
            "[upstream]\nattempts = 1\nconnect_s = 2",
            '[log]\nrequests = "all"',
            '[[providers]]\nname = "vendor"\nkind = "openai"',
            f'base_url = "{base_url}"',
            'credentials = ["sk-canary-0001"]\nmodels = ["*"]',
            *lines,
        ]
    )


@pytest.fixture(autouse=True)
def ready(vendor):
    vendor.always(unary(vendor.speaker.whole("fine")))


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def secure(upstream, authority):
    """A TLS door before the upstream, for vendor.test and 127.0.0.1."""
    with securing(upstream.port, authority.issue_cert("vendor.test", "127.0.0.1")) as door:
        yield door


def trusted(authority, folder):
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return f'ca_file = "{path}"'


def through(proxy):
    return f'proxy = "http://user:{PASSWORD}@127.0.0.1:{proxy.port}"'


def check_silent(gateway, *answers):
    for text in (gateway.output(), *(answer.body.decode() for answer in answers)):
        assert "canary" not in text


# --- proxies --------------------------------------------------------------------------------------


def test_plain_proxy(upstream, vendor, start_gateway):
    with proxying(upstream.port, "user", PASSWORD) as proxy:
        gateway = start_gateway(config(f"http://vendor.test/{vendor.name}/v1", through(proxy)))
        answer = complete(gateway, "vendor/m")
        assert answer.status == 200, (answer.body, gateway.output())
        assert answer.text == "fine"
    [request] = vendor.requests
    assert request.credential == "sk-canary-0001"
    assert request.headers["host"] == "vendor.test"
    assert "proxy-authorization" not in request.headers
    check_silent(gateway, answer)


def test_tunnel(secure, vendor, start_gateway, authority, tmp_path):
    with proxying(secure.port, "user", PASSWORD) as proxy:
        base_url = f"https://vendor.test/{vendor.name}/v1"
        gateway = start_gateway(config(base_url, through(proxy), trusted(authority, tmp_path)))
        for _ in range(3):
            assert complete(gateway, "vendor/m").text == "fine"
        assert set(proxy.asked) == {"CONNECT vendor.test:443 HTTP/1.1"}
    assert len(vendor.requests) == 3
    check_silent(gateway)


def test_streams_pass_the_tunnel(secure, vendor, start_gateway, authority, tmp_path):
    vendor.always(stream(vendor.speaker.events(["one ", "two"])))
    with proxying(secure.port, "user", PASSWORD) as proxy:
        base_url = f"https://vendor.test/{vendor.name}/v1"
        gateway = start_gateway(config(base_url, through(proxy), trusted(authority, tmp_path)))
        answer = complete(gateway, "vendor/m", stream=True)
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b"one " in answer.body


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_refuses(upstream, vendor, start_gateway, scheme):
    with proxying(upstream.port, "user", "another") as proxy:
        gateway = start_gateway(config(f"{scheme}://vendor.test/{vendor.name}/v1", through(proxy)))
        answer = complete(gateway, "vendor/m")
    assert answer.status in (502, 503)
    assert answer.json["error"]["message"]
    assert vendor.requests == []
    check_silent(gateway, answer)


def test_proxy_that_is_gone(start_gateway, dead_port):
    way = f'proxy = "http://user:{PASSWORD}@127.0.0.1:{dead_port}"'
    gateway = start_gateway(config("http://vendor.test/v1", way))
    answer = complete(gateway, "vendor/m")
    assert answer.status in (502, 503)
    check_silent(gateway, answer)


# --- certificates ---------------------------------------------------------------------------------


def address(door, vendor):
    return f"https://127.0.0.1:{door.port}/{vendor.name}/v1"


def check_refused(gateway, vendor):
    answer = complete(gateway, "vendor/m")
    assert answer.status in (502, 503), answer.body
    assert answer.json["error"]["message"]
    assert vendor.requests == []
    assert vendor.probes == 0
    check_silent(gateway, answer)


def test_authority_of_the_provider_is_trusted(secure, vendor, start_gateway, authority, tmp_path):
    gateway = start_gateway(config(address(secure, vendor), trusted(authority, tmp_path)))
    assert complete(gateway, "vendor/m").text == "fine"


@pytest.mark.parametrize("trusts", ["another authority", "the system's"])
def test_unknown_authority_is_never_trusted(secure, vendor, start_gateway, tmp_path, trusts):
    lines = [trusted(trustme.CA(), tmp_path)] if trusts == "another authority" else []
    check_refused(start_gateway(config(address(secure, vendor), *lines)), vendor)


def test_certificate_for_another_name_is_refused(upstream, vendor, start_gateway, authority, tmp_path):
    with securing(upstream.port, authority.issue_cert("another.test")) as door:
        check_refused(start_gateway(config(address(door, vendor), trusted(authority, tmp_path))), vendor)


def test_expired_certificate_is_refused(upstream, vendor, start_gateway, authority, tmp_path):
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    expired = authority.issue_cert("127.0.0.1", not_before=past, not_after=past + dt.timedelta(days=1))
    with securing(upstream.port, expired) as door:
        check_refused(start_gateway(config(address(door, vendor), trusted(authority, tmp_path))), vendor)


def test_plain_http_at_a_tls_address_is_refused(upstream, vendor, start_gateway):
    check_refused(start_gateway(config(f"https://127.0.0.1:{upstream.port}/{vendor.name}/v1")), vendor)
