#!/usr/bin/env python3
"""Ten nightly dumps: which flags of a dump make it deduplicate, in this and in other backup tools.

Starts PostgreSQL, MariaDB and Redis on sockets of their own, fills each with the same made-up application, and lets ten
days pass: rows are added, changed and deleted, as the seed says. After each day every database is dumped in all the ways
that a hook could, and each way has a repository of its own in every tool. Printed is what these repositories hold after
the first night and after the last one. Nothing depends on time but the servers' own bookkeeping.

    dumps.py --repo target/release/repo --work /var/tmp/dumps [--rows 60000] [--only postgres] [--tools repo,restic,borg]
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
import time

NIGHTS = 10
WORDS = "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they".split()


def run(*command, **more):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, **more).stdout


def as_nobody(*command):
    """Servers refuse to run as root."""
    other = ["--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *other, "--pdeathsig", "KILL", "--", *map(str, command)]


def place_for_nobody(path):
    path.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    return path


@contextlib.contextmanager
def served(command, is_ready, log):
    with open(log, "wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        for _ in range(3000):
            if is_ready():
                break
            if server.poll() is not None:
                sys.exit(f"a server did not start, see {log}")
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait()


def quiet(*command):
    return subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


# The application: what happens on a day, as statements that all SQL databases take.

class Application:
    """Users that change, events that are only added, documents that are edited. Numbers are those of rows."""

    def __init__(self, rows, seed):
        self.random = random.Random(seed)
        self.rows = rows
        self.users, self.events, self.documents = 0, 0, 0

    def text(self, words):
        return " ".join(self.random.choices(WORDS, k=words))

    def tables(self, text):
        return [f"create table users (id integer primary key, name {text}, mail {text}, seen integer, points integer)",
                f"create table events (id integer primary key, who integer, what {text}, details {text})",
                f"create table documents (id integer primary key, owner integer, title {text}, body {text})"]

    def new_users(self, count):
        for _ in range(count):
            self.users += 1
            mail = f"{self.random.getrandbits(48):x}@example.org"
            yield ("users", (self.users, self.text(2), mail, self.random.getrandbits(30), 0))

    def new_events(self, count):
        for _ in range(count):
            self.events += 1
            details = json.dumps({"session": f"{self.random.getrandbits(64):x}", "ms": self.random.getrandbits(12)})
            yield ("events", (self.events, self.random.randrange(1, self.users + 1), self.text(3), details))

    def new_documents(self, count):
        for _ in range(count):
            self.documents += 1
            owner = self.random.randrange(1, self.users + 1)
            yield ("documents", (self.documents, owner, self.text(5), self.text(self.random.randrange(40, 400))))

    def first_day(self):
        yield from self.new_users(self.rows // 4)
        yield from self.new_events(self.rows)
        yield from self.new_documents(self.rows // 20)

    def a_day(self):
        yield from self.new_users(self.rows // 400)
        yield from self.new_events(self.rows // 50)
        yield from self.new_documents(self.rows // 1000)

    def changes(self):
        """Statements: 2 % of the users were here, 1 % of the documents were edited, some events went."""
        some = lambda most, count: sorted(self.random.sample(range(1, most + 1), count))
        for number in some(self.users, self.users // 50):
            yield f"update users set seen = {self.random.getrandbits(30)}, points = points + 1 where id = {number}"
        for number in some(self.documents, self.documents // 100):
            yield f"update documents set body = '{self.text(self.random.randrange(40, 400))}' where id = {number}"
        for number in some(self.events, self.events // 500):
            yield f"delete from events where id = {number}"


def inserts(rows):
    """Statements for rows, a hundred each."""
    waiting = {}
    for table, values in rows:
        shown = ",".join(str(value) if isinstance(value, int) else f"'{value}'" for value in values)
        waiting.setdefault(table, []).append(f"({shown})")
        if len(waiting[table]) == 100:
            yield f"insert into {table} values {','.join(waiting.pop(table))}"
    for table, values in waiting.items():
        yield f"insert into {table} values {','.join(values)}"


def days(application, text):
    """The statements of each day."""
    yield [*application.tables(text), *inserts(application.first_day())]
    for _ in range(NIGHTS - 1):
        yield [*inserts(application.a_day()), *application.changes()]


# The databases: each gives the dumps of one night after the other, as {name of the way: (file or directory)}.

def postgres(work, rows, seed):
    programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    place = place_for_nobody(work / "postgres")
    run(*as_nobody(programs / "initdb", "-D", place / "data", "-U", "postgres", "--auth=trust", "--no-sync"))
    server = as_nobody(programs / "postgres", "-D", place / "data", "-k", place, "-c", "listen_addresses=", "-c", "fsync=off")
    os.environ.update(PGHOST=str(place), PGUSER="postgres")
    with served(server, lambda: quiet(programs / "psql", "-c", "select 1"), work / "postgres.log"):
        for statements in days(Application(rows, seed), "text"):
            run(programs / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-1", input=(";\n".join(statements) + ";").encode())
            dumps = {}
            for name, flags in {"pg_dump, plain": [], "pg_dump -Fc -Z0": ["-Fc", "-Z0"], "pg_dump -Fc (gzip)": ["-Fc"],
                                "pg_dump -Ft": ["-Ft"], "pg_dump --inserts": ["--inserts"]}.items():
                dumps[name] = run(programs / "pg_dump", *flags, "postgres")
            directory = work / "pg_dump-directory"
            shutil.rmtree(directory, ignore_errors=True)
            run(programs / "pg_dump", "-Fd", "-Z0", "-f", directory, "postgres")
            dumps["pg_dump -Fd -Z0"] = directory
            yield dumps


def mariadb(work, rows, seed):
    place = place_for_nobody(work / "mariadb")
    options = ["--no-defaults", f"--datadir={place}/data"]
    run(*as_nobody("mariadb-install-db", *options, "--auth-root-authentication-method=normal", "--skip-test-db"))
    daemon = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
    server = as_nobody(daemon, *options, f"--socket={place}/socket", "--skip-networking", "--innodb-flush-log-at-trx-commit=0")
    client = ["--no-defaults", "-uroot", f"--socket={place}/socket"]
    with served(server, lambda: quiet("mariadb-admin", *client, "ping"), work / "mariadb.log"):
        run("mariadb", *client, "-e", "create database app")
        for statements in days(Application(rows, seed), "longtext"):
            text = "start transaction;\n" + ";\n".join(statements) + ";\ncommit;"
            run("mariadb", *client, "app", input=text.encode())
            common = ["mariadb-dump", *client, "--single-transaction", "--quick"]
            ways = {"mariadb-dump (extended inserts)": [], "mariadb-dump --skip-extended-insert": ["--skip-extended-insert"],
                    "mariadb-dump --order-by-primary": ["--order-by-primary"],
                    "mariadb-dump --skip-dump-date --order-by-primary --skip-extended-insert":
                        ["--skip-dump-date", "--order-by-primary", "--skip-extended-insert"]}
            dumps = {name: run(*common, *flags, "app") for name, flags in ways.items()}
            plain = dumps["mariadb-dump (extended inserts)"]
            dumps["mariadb-dump | gzip"] = run("gzip", "-nc", input=plain)
            yield dumps


def redis(work, rows, seed):
    place = place_for_nobody(work / "redis")
    server = as_nobody("redis-server", "--port", 0, "--save", "", "--dir", place, "--unixsocket", place / "socket",
                       "--unixsocketperm", 777)
    client = ["redis-cli", "-s", place / "socket"]
    with served(server, lambda: quiet(*client, "ping"), work / "redis.log"):
        application = Application(rows, seed)
        for night in range(NIGHTS):
            rows_of_day = application.a_day() if night else application.first_day()
            commands = [f"SET {table}:{values[0]} '{json.dumps(values[1:])}'" for table, values in rows_of_day]
            if night:
                pick = application.random
                commands += [f"SET users:{pick.randrange(1, application.users)} '{application.text(4)}'"
                             for _ in range(application.users // 50)]
                commands += [f"DEL events:{pick.randrange(1, application.events)}" for _ in range(application.events // 500)]
            run(*client, input="\n".join(commands).encode())
            dumps = {}
            for name, compression in {"redis-cli --rdb (rdbcompression yes)": "yes", "redis-cli --rdb (rdbcompression no)": "no"}.items():
                run(*client, "config", "set", "rdbcompression", compression)
                dumps[name] = run(*client, "--rdb", "-", stderr=subprocess.DEVNULL)
            yield dumps


def sqlite(work, rows, seed):
    path = work / "app.sqlite"
    database = sqlite3.connect(path)
    database.execute("pragma journal_mode = wal")
    for statements in days(Application(rows, seed), "text"):
        for statement in statements:
            database.execute(statement)
        database.commit()
        dumps = {"sqlite3 .dump": run("sqlite3", path, ".dump")}
        for name, command in {"sqlite3 .backup": ".backup {}", "sqlite3 'vacuum into'": "vacuum into '{}'"}.items():
            copy = work / "copy.sqlite"
            copy.unlink(missing_ok=True)
            run("sqlite3", path, command.format(copy))
            dumps[name] = copy.read_bytes()
        yield dumps


DATABASES = {"postgres": postgres, "mariadb": mariadb, "redis": redis, "sqlite": sqlite}


# The tools: each makes a repository and stores a dump in it.

class Repo:
    def __init__(self, program, place):
        self.program, self.place = program, place
        self.environment = {**os.environ, "REPO_REPOSITORY": str(place), "REPO_KEY_FILE": str(place) + ".key",
                            "REPO_CACHE_DIR": str(place) + ".cache"}
        run(program, "init", "-q", env=self.environment)

    def store(self, dump):
        if isinstance(dump, bytes):
            run(self.program, "snapshot", "-q", "--stdin", "dump", input=dump, env=self.environment)
        else:
            run(self.program, "snapshot", "-q", dump, env=self.environment)


class Restic:
    def __init__(self, program, place):
        self.command = [program, "-r", place, "--cache-dir", str(place) + ".cache", "-q"]
        self.environment = {**os.environ, "RESTIC_PASSWORD": "x"}
        run(*self.command, "init", env=self.environment)

    def store(self, dump):
        if isinstance(dump, bytes):
            run(*self.command, "backup", "--stdin", "--stdin-filename", "dump", input=dump, env=self.environment)
        else:
            run(*self.command, "backup", dump, env=self.environment)


class Borg:
    def __init__(self, program, place):
        self.program, self.place, self.nights = program, place, 0
        self.environment = {**os.environ, "BORG_PASSPHRASE": "x", "BORG_BASE_DIR": str(place) + ".base"}
        run(program, "init", "-e", "repokey-blake2", place, env=self.environment, stderr=subprocess.DEVNULL)

    def store(self, dump):
        self.nights += 1
        name, is_stream = f"{self.place}::night-{self.nights}", isinstance(dump, bytes)
        run(self.program, "create", "-C", "zstd", name, "-" if is_stream else dump, env=self.environment,
            **({"input": dump} if is_stream else {}))


def size_of(place):
    return sum(path.stat().st_size for path in pathlib.Path(place).rglob("*") if path.is_file())


def length(dump):
    return len(dump) if isinstance(dump, bytes) else size_of(dump)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", default="target/release/repo")
    parser.add_argument("--peers", default=os.path.dirname(shutil.which("restic") or ""),
                        help="where restic and borg are, if not on PATH")
    parser.add_argument("--work", required=True, type=pathlib.Path, help="a directory that does not exist yet")
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=DATABASES, action="append")
    parser.add_argument("--tools", default="repo,restic,borg")
    args = parser.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True)
    work.chmod(0o755)
    tools = {"repo": lambda place: Repo(os.path.abspath(args.repo), place), "restic": lambda place: Restic(f"{args.peers}/restic", place),
             "borg": lambda place: Borg(f"{args.peers}/borg", place)}
    tools = {name: tools[name] for name in args.tools.split(",")}
    print(f"| dump | its size | {' | '.join(f'{name}: 1 night | {name}: {NIGHTS} nights' for name in tools)} |")
    print(f"|---|---|{'---|---|' * len(tools)}", flush=True)
    mib = lambda count: f"{count / (1 << 20):.1f}"
    for database in args.only or DATABASES:
        place = work / database
        place.mkdir()
        place.chmod(0o755)
        stores, sizes, lengths = {}, {}, {}
        for night, dumps in enumerate(DATABASES[database](place, args.rows, args.seed)):
            for way, (name, dump) in enumerate(dumps.items()):
                lengths[name] = length(dump)
                for tool, make in tools.items():
                    if night == 0:
                        stores[name, tool] = (place / f"{tool}-{way}", make(place / f"{tool}-{way}"))
                    where, store = stores[name, tool]
                    store.store(dump)
                    if night in (0, NIGHTS - 1):
                        sizes.setdefault((name, tool), []).append(size_of(where))
        for name, dump_bytes in lengths.items():
            cells = [mib(size) for tool in tools for size in sizes[name, tool]]
            print(f"| `{name}` | {mib(dump_bytes)} | {' | '.join(cells)} |", flush=True)
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
