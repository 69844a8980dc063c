#!/usr/bin/env python3
"""What latency costs: repo and restic with the same data and the same servers, over a line with 50 ms and 200 Mbit/s.

  remote.py V1:V2 [--places rest,s3,s3-decides,ssh,sftp] [--tools repo,restic] [--runs N] [--json FILE] [--work DIR]

V1 and V2 are two versions of a directory: V1 is saved, saved again unchanged, then replaced in place by V2 and saved; then it
is restored, its metadata checked, listed, and pruned with nothing to do. Servers listen on loopback; a client reaches them
through proxy.py, which is the line, and another client of a repository of its own directly: what it needs there is the
work, and the rest is what the line costs.
The tools take turns at each step. Of each step: wall seconds, CPU seconds and peak RSS of the client, bytes each way,
connections, and requests where they can be counted (HTTP without TLS; for ssh, what the server says).

REPO= and RESTIC= name the binaries, S3_SERVER= an s3s-fs, or a moto_server. A place whose server is not there is left out. sshd has to be
started by root. s3-decides is an s3s-fs of which the repository's record says that it decides which of several writers was first, as
S3 does: with one client nobody can tell, and the requests are those that S3 would get. --table FILE… prints the table of rows that were measured before.
"""
import argparse, json, os, re, resource, shutil, socket, statistics, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peers"))
from peers import PW, SETTLE, place as put_in_place, same  # the same data, put in place in the same way

ROUND_TRIP_MS, MBIT = 50, 200
KEYS = {"AWS_ACCESS_KEY_ID": "bench-access", "AWS_SECRET_ACCESS_KEY": "bench-secret-key"}
REPO, RESTIC, S3_SERVER = (os.environ.get(n, d) for n, d in (("REPO", "repo"), ("RESTIC", "restic"), ("S3_SERVER", "s3s-fs")))

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0)); return s.getsockname()[1]

def wait_for(port):
    for _ in range(300):
        try: socket.create_connection(("127.0.0.1", port)).close(); return
        except OSError: time.sleep(0.05)
    raise RuntimeError(f"nobody listens on {port}")

class Process:
    """Something that runs until the end."""
    all = []
    def __init__(s, argv, log, env={}, **more):
        s.process = subprocess.Popen([str(a) for a in argv], env={**os.environ, **env}, stderr=open(log, "wb"), **more)
        Process.all.append(s)
    @classmethod
    def end(cls):
        for each in cls.all: each.process.kill(); each.process.wait()
        cls.all.clear()

class Line(Process):
    """A proxy to a port."""
    def __init__(s, port, log):
        super().__init__([sys.executable, HERE / "proxy.py", f"127.0.0.1:{port}", "--round-trip-ms", ROUND_TRIP_MS, "--mbit", MBIT],
                         log, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        s.port = int(s.process.stdout.readline())
    def passed(s):
        s.process.stdin.write("\n"); s.process.stdin.flush()
        return json.loads(s.process.stdout.readline())

class Rest:
    def __init__(s, d):
        s.port = free_port(); (d / "served").mkdir()
        Process([REPO, "serve", "--path", d / "served", "--listen", f"127.0.0.1:{s.port}", "--no-auth"], d / "server.log", stdout=subprocess.DEVNULL)
    def repo(s, port, name, d): return f"rest:http://127.0.0.1:{port}/{name}", [], {}
    restic = None

class S3:
    def __init__(s, d):
        s.port = free_port()
        (d / "served/bucket").mkdir(parents=True)
        if Path(S3_SERVER).name.startswith("moto"):
            Process([S3_SERVER, "-H", "127.0.0.1", "-p", s.port], d / "server.log", stdout=subprocess.DEVNULL)
            wait_for(s.port)
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{s.port}/bucket", method="PUT")).close()
            return
        Process([S3_SERVER, "--host", "127.0.0.1", "--port", s.port, "--access-key", KEYS["AWS_ACCESS_KEY_ID"],
                 "--secret-key", KEYS["AWS_SECRET_ACCESS_KEY"], d / "served"], d / "server.log", stdout=subprocess.DEVNULL, env={"RUST_LOG": "error"})
    def repo(s, port, name, d): return f"s3:http://127.0.0.1:{port}/bucket/{name}", ["-o", "s3.region=us-east-1"], KEYS
    def restic(s, port, name, d): return f"s3:http://127.0.0.1:{port}/bucket/{name}", ["-o", "s3.bucket-lookup=path"], KEYS

class S3Decides(S3):
    def after_init(s, d, name):
        record = d / "served/bucket" / name / "storage.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"conditional_writes": "one-winner"}))
    restic = None

class Ssh:
    """Both ssh and sftp: a real sshd, with a key made for it."""
    def __init__(s, d):
        s.port, s.d = free_port(), d
        for key in ("host", "user"): subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-f", d / key, "-N", ""], check=True)
        shutil.copy(d / "user.pub", d / "authorized"); (d / "authorized").chmod(0o600)
        Path("/run/sshd").mkdir(exist_ok=True)
        options = ["ListenAddress=127.0.0.1", "StrictModes=no", "UsePAM=no", "PidFile=none", "PermitRootLogin=yes", f"AuthorizedKeysFile={d}/authorized", "Subsystem=sftp internal-sftp"]
        Process(["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", d / "host", "-p", s.port] + [w for o in options for w in ("-o", o)], d / "server.log")
        (d / "served").mkdir()
    def ssh(s): return f"ssh -F none -i {s.d}/user -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes"
    def repo(s, port, name, d):
        return f"ssh://root@127.0.0.1:{port}{s.d}/served/{name}", ["-o", f"ssh.command={s.ssh()}", "-o", f"ssh.remote-command={REPO} -v"], {}
    restic = None

class Sftp(Ssh):
    def repo(s, port, name, d): return f"sftp://root@127.0.0.1:{port}/{s.d}/served/{name}", ["-o", f"ssh.command={s.ssh()}"], {}
    def restic(s, port, name, d): return f"sftp:root@127.0.0.1:{s.d}/served/{name}", ["-o", f"sftp.command={s.ssh()} -p {port} root@127.0.0.1 -s sftp"], {}

PLACES = {"rest": Rest, "s3": S3, "s3-decides": S3Decides, "ssh": Ssh, "sftp": Sftp}

class Client:
    """A tool with a repository of its own, at the end of a line or beside the server."""
    def __init__(s, tool, place, server, line, work):
        s.tool, s.place, s.line, s.way = tool, place, line, "line" if line else "direct"
        s.after_init = lambda: getattr(server, "after_init", lambda *_: None)(work / place, f"{tool}-{s.way}")
        s.d = work / f"{tool}-{place}-{s.way}"; s.d.mkdir()
        address, options, env = getattr(server, tool)(line.port if line else server.port, f"{tool}-{s.way}", s.d)
        prefix = tool.upper()
        s.env = {**env, f"{prefix}_PASSWORD": PW, f"{prefix}_REPOSITORY": address, f"{prefix}_CACHE_DIR": str(s.d / "cache")}
        s.base = [REPO if tool == "repo" else RESTIC] + options
    def argv(s, step, data):
        repo = s.tool == "repo"
        return s.base + {
            "init": ["init", "-q"],
            "first": ["snapshot" if repo else "backup", "-q", str(data)], "unchanged": ["snapshot" if repo else "backup", "-q", str(data)],
            "changed": ["snapshot" if repo else "backup", "-q", str(data)],
            "restore": ["restore", "-q", "latest", "--target", str(s.d / "out")],
            "check": ["check", "-q"], "ls": ["ls", "-R", "latest"] if repo else ["ls", "latest"],
            "prune": ["prune", "-q"],
        }[step]
    def run(s, step, data):
        if s.line: s.line.passed()
        os.sync()
        with open(s.d / "log", "wb") as log:
            begun = time.perf_counter()
            p = subprocess.Popen(s.argv(step, data), env={**os.environ, **s.env}, cwd=s.d, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
            _, status, ru = os.wait4(p.pid, 0)
            wall = time.perf_counter() - begun
            p.returncode = os.waitstatus_to_exitcode(status)
        said = (s.d / "log").read_text(errors="replace")
        if p.returncode: raise RuntimeError(f"exit {p.returncode}: {' '.join(s.argv(step, data))}\n{said[-1500:]}")
        row = dict(tool=s.tool, place=s.place, way=s.way, step=step, wall=wall, cpu=ru.ru_utime + ru.ru_stime, rss=ru.ru_maxrss / 1024)
        if s.line:
            passed = s.line.passed()
            asked = sum(passed["requests"].values())
            if s.place == "ssh": asked = len(re.findall(r"^pipe \S+ [A-Z]+ /", said, re.M))
            row |= dict(up=passed["up"], down=passed["down"], connections=passed["connections"], requests=asked or None)
        return row

STEPS = ["init", "first", "unchanged", "swap", "changed", "restore", "check", "ls", "prune"]

def one_round(a, number, work, report):
    shutil.rmtree(work, ignore_errors=True); work.mkdir(parents=True)
    v1, v2 = a.data.split(":")
    data, clients = work / "data", []
    for place in a.places.split(","):
        (work / place).mkdir()
        server = PLACES[place](work / place); wait_for(server.port)
        line = Line(server.port, work / place / "line.log")
        clients += [Client(tool, place, server, way, work) for tool in a.tools.split(",") if getattr(server, tool) for way in (line, None)]
    put_in_place(v1, data); deleted = time.monotonic(); bad = False
    for step in [s for s in STEPS if s in ("init", "swap") or s in a.steps.split(",")]:
        if step == "swap":
            if "changed" in a.steps: put_in_place(v2, data); deleted = time.monotonic()
            continue
        if step == "restore": os.sync(); time.sleep(max(0, deleted + SETTLE - time.monotonic()))
        for client in list(clients):
            try: row = client.run(step, data) | dict(run=number, load=os.getloadavg()[0])
            except RuntimeError as error:
                print(f"{client.tool} {client.place} {step}: FAILED {error}", file=sys.stderr); clients.remove(client); bad = True; continue
            if step == "init": client.after_init()
            if step == "restore":
                if client.line: row["intact"] = same(data, client.d / "out"); bad |= not row["intact"]
            report(row)
    Process.end(); shutil.rmtree(work, ignore_errors=True)
    return bad

def table(rows):
    lines = ["| step | place | tool | wall s | direct s | of the time that the bytes need | round trips | requests | connections | MB up | MB down | RSS MiB |", "|---|---|---|" + "---|" * 9]
    median = lambda rs, key: statistics.median(r[key] for r in rs)
    for step in [s for s in STEPS if s not in ("init", "swap")]:
        for place in PLACES:
            for tool in ("repo", "restic"):
                of = lambda way: [r for r in rows if (r["step"], r["place"], r["tool"], r["way"]) == (step, place, tool, way)]
                far, near = of("line"), of("direct")
                if not far: continue
                wall, up, down = (median(far, key) for key in ("wall", "up", "down"))
                needed = max(up, down) / (MBIT * 1e6 / 8)
                direct = median(near, "wall") if near else None
                asked = median(far, "requests") if all(r["requests"] for r in far) else None
                cells = [f"{wall:.2f}", f"{direct:.2f}" if near else "–", f"{wall / needed:.2f}" if needed > 1 else "–",
                         f"{(wall - direct) * 1000 / ROUND_TRIP_MS:.1f}" if near and needed < 1 else "–", f"{asked:.0f}" if asked else "–",
                         f"{median(far, 'connections'):.0f}", f"{up / 1e6:.2f}", f"{down / 1e6:.2f}", f"{median(far, 'rss'):.0f}"]
                lines.append(f"| {step} | {place} | {tool} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("data", nargs="?"); ap.add_argument("--places", default="rest,s3,ssh,sftp"); ap.add_argument("--tools", default="repo,restic")
    ap.add_argument("--steps", default=",".join(STEPS)); ap.add_argument("--runs", type=int, default=1); ap.add_argument("--json"); ap.add_argument("--table", nargs="+", metavar="JSONL")
    ap.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "remote-bench"))
    a = ap.parse_args()
    if a.table:
        print(table([json.loads(line) for file in a.table for line in open(file)])); return 0
    rows, bad = [], False
    if a.json: Path(a.json).write_text("")
    def report(row):
        rows.append(row)
        if a.json:
            with open(a.json, "a") as f: f.write(json.dumps(row) + "\n")
        print(f"{row['step']:10} {row['place']:5} {row['tool']:7} {row['way']:7} {row['wall']:8.2f} s  cpu {row['cpu']:6.2f}  rss {row['rss']:5.0f} MiB"
              + (f"  up {row['up'] / 1e6:8.2f} MB  down {row['down'] / 1e6:8.2f} MB  {row['connections']} connections  {row['requests'] or '–'} requests" if "up" in row else "")
              + f"  load {row['load']:.1f}" + ("" if row.get("intact", True) else "  NOT INTACT"), flush=True)
    try:
        for number in range(a.runs): bad |= one_round(a, number, Path(a.work), report)
    finally: Process.end()
    print("\n" + table(rows))
    return 1 if bad else 0

if __name__ == "__main__":
    sys.exit(main())
