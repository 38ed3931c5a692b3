"""A certified OpenID provider over TLS, for tests of logins.

It is idpyoidc 5 (PyPI, by the Identity Python project). How we know that it is certified: the README that its package
carries (`idpyoidc-*.dist-info/METADATA`, "Certifications") shows the OpenID Foundation's certification mark with a link
to its published plan `https://www.certification.openid.net/plan-detail.html?public=true&plan=7p3iPQmff6Ohv`; which
version that plan ran, the README does not say. What is certified is conformance to OpenID Connect; no OpenID profile
covers the password grant, which OAuth 2.0 defines (RFC 6749, 4.3). idpyoidc has one, but it answers without a refresh
token and without an ID token and reads the client's secret from the form only. So `PasswordGrant` below replaces that
one helper: the check of the password, the session and all three tokens are still made by the library, as are discovery,
client authentication, the refresh grant with rotation, and every error.
"""

import json
import ssl
import threading
import warnings
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

import trustme

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from idpyoidc.message.oidc import AuthorizationRequest
    from idpyoidc.server import Server
    from idpyoidc.server.authn_event import create_authn_event
    from idpyoidc.server.configure import OPConfiguration
    from idpyoidc.server.exception import ClientAuthenticationError, FailedAuthentication
    from idpyoidc.server.oauth2.token_helper import TokenEndpointHelper
    from idpyoidc.server.oidc.token_helper.refresh_token import RefreshTokenHelper
    from idpyoidc.server.user_authn.authn_context import pick_auth

CLIENT = "the-gateway"
# RFC 6749, 2.3.1 wants a client's secret form-encoded before it goes into the header. idpyoidc does not decode it, so
# the one for the header is its own encoding; the one for the form has every character that means something in a form.
SECRETS = {"client_secret_basic": "a-secret_of.some~length", "client_secret_post": "s3cret: with+all/of=it&more%"}
USERS = {"alice": "alice's long password", "bob": "pässwörd & more = fun+100%"}


class PasswordGrant(TokenEndpointHelper):
    """RFC 6749, 4.3, answered as OpenID Connect Core, 3.1.3.3 answers a code."""

    def post_parse_request(self, request, client_id="", **kwargs):
        return request

    def process_request(self, req, **kwargs):
        context = self.endpoint.upstream_get("context")
        client = req["client_id"]
        try:
            user = pick_auth(context, req)["method"].verify(username=req["username"], password=req["password"])
        except FailedAuthentication:
            return self.error_cls(error="invalid_grant", error_description=f"Wrong password {req['password']}")
        asked = AuthorizationRequest(
            client_id=client, scope=req["scope"].split(), response_type="code", redirect_uri="https://unused.example"
        )
        session = context.session_manager.create_session(
            authn_event=create_authn_event(user), auth_req=asked, user_id=user, client_id=client, sub_type="public"
        )
        grant = context.session_manager[session]
        grant.usage_rules = context.authz.usage_rules(client)
        grant.scope = asked["scope"]

        def mint(kind, based_on=None):
            return self._mint_token(kind, grant, session, client, based_on=based_on, scope=grant.scope)

        refresh, access = mint("refresh_token"), mint("access_token")
        answer = {"access_token": access.value, "token_type": "Bearer", "scope": grant.scope}
        if "openid" in grant.scope:
            answer["id_token"] = mint("id_token", refresh).value
        return answer | {"refresh_token": refresh.value}


def configuration(issuer, folder, method):
    lasting = {"key_defs": [{"type": "RSA", "use": ["sig"]}, {"type": "EC", "crv": "P-256", "use": ["sig"]}]}
    minted = ["access_token", "refresh_token", "id_token"]
    rules = {
        "authorization_code": {"supports_minting": minted, "max_usage": 1},
        "access_token": {"expires_in": 600},
        "refresh_token": {"supports_minting": minted, "expires_in": 3600},
        "id_token": {"expires_in": 300},
    }
    helpers = {"password": {"class": PasswordGrant}, "refresh_token": {"class": RefreshTokenHelper}}
    tokens = {"class": "idpyoidc.server.token.jwt_token.JWTToken", "kwargs": {"lifetime": 600, "aud": [issuer]}}
    users = {"class": dict, "kwargs": USERS}
    return {
        "issuer": issuer,
        "key_conf": lasting,
        "token_endpoint_auth_methods_supported": [method],
        "httpc_params": {"verify": True},
        "endpoint": {
            "provider_config": {
                "path": ".well-known/openid-configuration",
                "class": "idpyoidc.server.oidc.provider_config.ProviderConfiguration",
                "kwargs": {"client_authn_method": None},
            },
            "token": {
                "path": "token",
                "class": "idpyoidc.server.oidc.token.Token",
                "kwargs": {
                    "client_authn_method": [method],
                    "grant_types_helpers": helpers,
                    "revoke_refresh_on_issue": True,
                },
            },
        },
        "token_handler_args": {
            "key_conf": {"key_defs": [{"type": "oct", "bytes": 24, "use": ["enc"], "kid": "code"}]},
            "code": {"lifetime": 60, "kwargs": {"crypt_conf": {"kwargs": {"password": "code", "salt": "salt"}}}},
            "token": tokens,
            "refresh": tokens,
            "id_token": {"class": "idpyoidc.server.token.id_token.IDToken", "kwargs": {}},
        },
        "authentication": {
            "password": {
                "acr": "urn:oasis:names:tc:SAML:2.0:ac:classes:InternetProtocolPassword",
                "class": "idpyoidc.server.user_authn.user.UserPass",
                "kwargs": {"db_conf": users},
            }
        },
        "userinfo": {"class": "idpyoidc.server.user_info.UserInfo", "kwargs": {"db": {name: {} for name in USERS}}},
        "authz": {
            "class": "idpyoidc.server.authz.AuthzHandling",
            "kwargs": {"grant_config": {"usage_rules": rules, "expires_in": 3600}},
        },
        "session_params": {"encrypter": {"kwargs": {"password": "session", "salt": "salt"}}},
        "template_dir": str(folder),
    }


class Provider:
    """One issuer on a port of its own.

    `grants` are the grant types asked for, in order, `discoveries` is how often its document was, and `last` what it
    answered last. `replies` stand instead of its answers to "discovery" or to a grant type: (status, bytes).
    """

    def __init__(self, authority, folder, method):
        self.ca_file = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"provider": self}))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.issuer = f"https://localhost:{self.http.server_port}"
        self.secret = SECRETS[method]
        self.lock = threading.Lock()
        self.forget()
        port = self.http.server_port
        options = OPConfiguration(
            configuration(self.issuer, folder, method), str(folder), domain="localhost", port=port
        )
        self.server = Server(options, cwd=str(folder))
        self.server.context.cdb[CLIENT] = {
            "client_id": CLIENT,
            "client_secret": self.secret,
            "token_endpoint_auth_method": method,
            "grant_types_supported": ["password", "refresh_token"],
            "response_types_supported": ["code"],
            "allowed_scopes": ["openid", "offline_access", "profile"],
        }
        self.server.keyjar.add_symmetric(CLIENT, self.secret)

    def forget(self):
        """Forget what was asked before, and what was to be answered."""
        self.grants, self.discoveries, self.last, self.replies = [], 0, b"", {}

    def revoke_refresh_tokens(self):
        """Revoke every refresh token, as an administrator would."""
        for grant in self.server.context.session_manager.db.values():
            for token in getattr(grant, "issued_token", []):
                if token.token_class == "refresh_token":
                    token.revoke()

    def answer(self, path, body, authorization):
        """Return (status, bytes) as idpyoidc has it."""
        if path == "/.well-known/openid-configuration":
            self.discoveries += 1
            return self.replies.get("discovery") or self._ask("provider_config", {}, None)
        if path != "/token":
            return 404, b""
        form = dict(parse_qsl(body))
        self.grants.append(form.get("grant_type"))
        return self.replies.get(form.get("grant_type")) or self._ask("token", form, authorization)

    def _ask(self, name, form, authorization):
        endpoint = self.server.get_endpoint(name)
        try:
            request = endpoint.parse_request(
                form, {"headers": {"authorization": authorization} if authorization else {}}
            )
            result = endpoint.process_request(request)
        except ClientAuthenticationError:
            return 401, b'{"error":"invalid_client"}'
        if "error" in result:
            return 400, json.dumps(result.to_dict()).encode()
        return 200, endpoint.do_response(request=request, **result)["response"].encode()


class Handler(BaseHTTPRequestHandler):
    """HTTP around it. idpyoidc is not made for threads, so there is a lock."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        with self.provider.lock:
            status, answer = self.provider.answer(self.path, body, self.headers.get("authorization"))
            self.provider.last = answer
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


@contextmanager
def openid_provider(folder, method="client_secret_basic"):
    """Run a provider that knows CLIENT and USERS; it trusts `method` alone as the client's proof."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        provider = Provider(trustme.CA(), folder, method)
    thread = threading.Thread(target=provider.http.serve_forever, args=(0.02,), name="openid provider")
    thread.start()
    try:
        yield provider
    finally:
        provider.http.shutdown()
        thread.join()
        provider.http.server_close()
