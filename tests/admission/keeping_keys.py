"""What tests of keys need: a process with a store, a directory and a keysmith, and a clock that the test sets."""

import secrets

from dragoman.admission.directory import Directory
from dragoman.admission.keysmith import Keysmith
from dragoman.store import open_store

HASH_KEY = bytes(range(32))


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Office:
    """One process of those that share a database."""

    def __init__(self, folder, clock, hash_key=HASH_KEY) -> None:
        self.store = open_store("", folder, secrets.token_hex(8))
        self.keyring = self.store.keyring
        self.directory = Directory(self.keyring, hash_key, clock)
        self.smith = Keysmith(self.keyring, self.directory, hash_key, clock)

    def maker(self, secret):
        """Return whoever shows this secret."""
        principal = self.directory.find(secret)
        assert principal is not None
        return principal

    def execute(self, statement) -> None:
        with self.store._database.writer.begin() as connection:
            connection.exec_driver_sql(statement)
