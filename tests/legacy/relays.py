"""A relay: a gateway configured as the originals were, by the variables of their `.env`."""

import itertools

import jwts
import reads

from gateway import KEY, House

SECRET_KEY = "the secret of system A"
AUTHORIZATION_KEY = "the key of system D"


class Relay:
    """A running relay and how each kind of client talks to it."""

    def __init__(self, upstream, folder, environment, /, **sections):
        lines = [f"{name}='{value}'\n" for name, value in environment.items()]
        (folder / ".env").write_text("".join(lines), encoding="utf-8")
        echo = [{"name": "echo", "kind": "echo"}]
        settings = {"slots": 1, "providers": echo, "server": {}, **sections}
        settings["server"] = {"default_model": "echo", **settings["server"]}
        self.house = House(upstream, folder, **settings)
        self.folder = folder
        self.gateway = self.house.gateway
        self.port, self.url = self.gateway.port, self.gateway.url
        self.secret_key = environment.get("SECRET_KEY", "")
        self.key = KEY
        self._owners = itertools.count(1)
        self._shared = None

    def fresh_lane(self):
        """An upstream that nobody else uses, for a test that breaks it; its `model` is asked for by name."""
        return self.house.lane("openai")

    def shared_lane(self):
        """An upstream for a test that breaks nothing: always the same, with nothing asked yet."""
        self._shared = self._shared or self.fresh_lane()
        self._shared.requests.clear()
        return self._shared.always(None)

    def owner(self):
        """The token of somebody new."""
        return jwts.token_of(f"owner-{next(self._owners)}", self.secret_key)

    def begin(self, method, path, body=b"", token=None, **headers):
        shown = {"Authorization": token, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body != b"":
            shown.setdefault("Content-Type", "application/json")
        return reads.begin(self.port, method, path, shown, body)

    def ask(self, method, path, body=b"", token=None, **headers):
        return self.begin(method, path, body, token, **headers).rest()

    def stop(self):
        self.house.stop()
