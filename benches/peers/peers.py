#!/usr/bin/env python3
"""Side-by-side benchmark of backup tools on the same data, one run.

  peers.py DATASET... [--tools restic,rustic,borg,bupstash,repo] [--work DIR] [--runs N]

A DATASET is NAME=V1:V2, two paths (a file or a directory) that hold two versions of
the same thing: V1 is backed up, backed up again unchanged, then replaced in place by
V2 and backed up; then everything is restored, checked and the first snapshot pruned.

For each tool and step it prints wall s, cpu s (user+sys), peak RSS MiB, repository MiB.
Tools are found on PATH, or through an environment variable (RESTIC=, RUSTIC=, BORG=, ...).
The tools take turns at each step, so a ratio within one run survives a noisy machine; medians
are printed, and all rows as JSON lines with --json FILE, each as it is measured.
Before the restores of a directory it waits, and nothing that was restored is deleted before the
last tool is through: ext4 without a journal looks at every inode that was deleted within the last
minute before it takes one, which made restores five times slower for whoever came soon after
files were deleted.
The exit code is 1 if a step failed or a restore was not intact.
"""
import argparse, json, os, resource, shutil, statistics, subprocess, sys, tempfile, time
from pathlib import Path

# Seconds after which the inodes of deleted files are like others.
SETTLE = 65
PW = "correct horse battery staple"

def binary(name):
    return os.environ.get(name.upper(), name)

def run(argv, env, cwd, stdout=subprocess.DEVNULL):
    """Run argv; return (wall, cpu, peak RSS MiB) from the kernel's accounting of that child."""
    log = open(cwd / "log", "ab")
    t0 = time.perf_counter()
    p = subprocess.Popen(argv, env={**os.environ, **env}, cwd=cwd, stdin=subprocess.DEVNULL,
                         stdout=stdout if stdout != subprocess.DEVNULL else log, stderr=log)
    _, status, ru = os.wait4(p.pid, 0)
    wall = time.perf_counter() - t0
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode != 0:
        raise RuntimeError(f"exit {p.returncode}: {' '.join(map(str, argv))}\n" + (cwd / "log").read_text(errors="replace")[-1500:])
    return wall, ru.ru_utime + ru.ru_stime, ru.ru_maxrss / 1024

def du(path):
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file() and not f.is_symlink()) / 2**20

class Restic:
    name = "restic"
    def __init__(s, d):
        s.repo, s.d = d / "repo", d
        s.env = {"RESTIC_PASSWORD": PW, "RESTIC_REPOSITORY": str(s.repo), "RESTIC_CACHE_DIR": str(d / "cache")}
        s.bin = binary(s.name)
    def init(s): return [s.bin, "init", "-q"]
    def backup(s, src, label): return [s.bin, "backup", "-q", str(src)]
    def restore(s, src, out): return [s.bin, "restore", "-q", "latest", "--target", str(out)]
    def check(s): return [s.bin, "check", "-q", "--read-data"]
    def prune(s): return [s.bin, "forget", "-q", "--keep-last", "1", "--prune"]

class Rustic(Restic):
    name = "rustic"
    def __init__(s, d):
        super().__init__(d)
        s.env = {"RUSTIC_PASSWORD": PW, "RUSTIC_REPOSITORY": str(s.repo), "RUSTIC_CACHE_DIR": str(d / "cache"), "HOME": str(d)}
    def init(s): return [s.bin, "--no-progress", "init"]
    def backup(s, src, label): return [s.bin, "--no-progress", "backup", str(src)]
    def restore(s, src, out): return [s.bin, "--no-progress", "restore", "latest", str(out)]
    def check(s): return [s.bin, "--no-progress", "check", "--read-data"]
    def prune(s): return [s.bin, "--no-progress", "forget", "--keep-last", "1", "--prune", "--instant-delete"]

class Borg:
    name = "borg"
    def __init__(s, d):
        s.repo, s.d, s.bin = d / "repo", d, binary("borg")
        s.env = {"BORG_PASSPHRASE": PW, "BORG_REPO": str(s.repo), "BORG_BASE_DIR": str(d), "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
    def init(s): return [s.bin, "init", "-e", "repokey-blake2"]
    def backup(s, src, label): return [s.bin, "create", "-C", "zstd,3", f"::{label}", str(src)]
    def restore(s, src, out): return ["sh", "-c", f'cd "{out}" && exec "{s.bin}" extract "::{s.last}"']
    def check(s): return [s.bin, "check", "--verify-data"]
    def prune(s): return ["sh", "-c", f'"{s.bin}" prune --keep-last 1 && exec "{s.bin}" compact --threshold 0']

class Bupstash:
    name = "bupstash"
    def __init__(s, d):
        s.repo, s.d, s.bin = d / "repo", d, binary("bupstash")
        s.env = {"BUPSTASH_REPOSITORY": str(s.repo), "BUPSTASH_KEY": str(d / "key"), "HOME": str(d)}
    def init(s): return ["sh", "-c", f'"{s.bin}" init && exec "{s.bin}" new-key -o "{s.d}/key"']
    def backup(s, src, label): return [s.bin, "put", "-q", "--compression", "zstd:3", "--no-default-tags", f"name={label}", str(src)]
    def restore(s, src, out):
        if src.is_dir(): return [s.bin, "restore", "-q", "--into", str(out), f"name={s.last}"]
        return ["sh", "-c", f'exec "{s.bin}" get -q name={s.last} > "{out}/data"']
    def check(s): return None
    def prune(s): return ["sh", "-c", f'"{s.bin}" rm -q "name={s.first}" && exec "{s.bin}" gc -q']

class Limit:
    """Not a backup tool: what the machine needs for the bare work (tar | zstd -3 for a backup, cp -a for a restore)."""
    name = "limit"
    def __init__(s, d): s.repo, s.d, s.env, s.n, s.bin = d / "repo", d, {}, 0, "sh"
    def init(s): return ["mkdir", str(s.repo)]
    def backup(s, src, label):
        if label == "v1b": return ["sh", "-c", f'find "{src}" -printf "%s %T@ %C@ %i" >/dev/null']
        return ["sh", "-c", f'tar -C "{src.parent}" -cf - "{src.name}" | zstd -3 -T2 -q > "{s.repo}/{label}"']
    def restore(s, src, out): return ["cp", "-a", str(src), str(out)]
    def check(s): return None
    def prune(s): return None

class Repo:
    """The project under test. REPO= names its binary."""
    name = "repo"
    def __init__(s, d):
        s.repo, s.d, s.bin = d / "repo", d, binary("repo")
        s.env = {"REPO_PASSWORD": PW, "REPO_REPOSITORY": str(s.repo), "REPO_CACHE_DIR": str(d / "cache")}
    def init(s): return [s.bin, "init", "-q"]
    def backup(s, src, label): return [s.bin, "snapshot", "-q", str(src)]
    def restore(s, src, out): return [s.bin, "restore", "-q", "latest", "--target", str(out)]
    def check(s): return [s.bin, "check", "-q", "--read-data"]
    def prune(s):
        known = subprocess.run([s.bin, "forget", "--help"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
        return [s.bin, "forget", "-q", "--keep-last", "1", "--prune", "--grace", "0", "--max-unused", "5%"] if known else None

class RepoKey(Repo):
    """The same, opened by a key file as bupstash is, and not by a password as restic and borg are."""
    name = "repo-key"
    def __init__(s, d):
        super().__init__(d)
        s.bin = binary("repo")
        del s.env["REPO_PASSWORD"]
        s.env["REPO_KEY_FILE"] = str(d / "key")

TOOLS = {c.name: c for c in (Limit, Restic, Rustic, Borg, Bupstash, Repo, RepoKey)}
PEERS, OURS = ("restic", "rustic", "borg", "bupstash"), ("repo", "repo-key")

def place(src, dst):
    """Make dst equal to src; unchanged files keep inode and times (rsync decides by content)."""
    if Path(src).is_dir():
        subprocess.run(["rsync", "-a", "--checksum", "--delete", f"{src}/", f"{dst}/"], check=True)
    else:
        shutil.copyfile(src, dst)

def same(src, out):
    """The restored tree holds src's content somewhere below out."""
    if src.is_dir():
        for cand in [out / str(src).lstrip("/"), out, out / src.name]:
            if cand.is_dir() and subprocess.run(["diff", "-rq", "--no-dereference", src, cand], stdout=subprocess.DEVNULL).returncode == 0:
                return True
        return False
    return any(f.is_file() and subprocess.run(["cmp", "-s", src, f]).returncode == 0 for f in out.rglob("*"))

STEPS = {
    "init": lambda tool, data, out: tool.init(),
    "first": lambda tool, data, out: tool.backup(data, "v1"),
    "unchanged": lambda tool, data, out: tool.backup(data, "v1b"),
    "swap": None,
    "changed": lambda tool, data, out: tool.backup(data, "v2"),
    "restore": lambda tool, data, out: tool.restore(data, out),
    "check": lambda tool, data, out: tool.check(),
    "prune": lambda tool, data, out: tool.prune(),
}
LABELS = {"first": "v1", "unchanged": "v1b", "changed": "v2"}

class Round:
    """One data set once through all tools, which take turns at each step."""
    def __init__(s, name, v1, v2, number, names, work, report):
        s.name, s.v2, s.number, s.report, s.bad = name, v2, number, report, False
        shutil.rmtree(work, ignore_errors=True)
        s.data = work / ("data" if Path(v1).is_dir() else "data.bin")
        s.tools = [TOOLS[t](work / t) for t in names]
        for tool in s.tools:
            tool.d.mkdir(parents=True); tool.first = "v1"
        place(v1, s.data); s.deleted = time.monotonic()

    def run(s):
        for step in STEPS:
            if step == "swap":
                place(s.v2, s.data); s.deleted = time.monotonic(); continue
            if step == "restore" and s.data.is_dir():
                os.sync(); time.sleep(max(0, s.deleted + SETTLE - time.monotonic()))
            rows = [row for tool in list(s.tools) if (row := s.measure(tool, step))]
            if step == "restore":
                for row, tool in rows:
                    row["intact"] = same(s.data, tool.d / "out"); s.bad |= not row["intact"]
                for _, tool in rows: shutil.rmtree(tool.d / "out")
            for row, _ in rows: s.report(row)

    def measure(s, tool, step):
        out = tool.d / "out"
        if step in LABELS: tool.last = LABELS[step]
        if step == "restore": out.mkdir()
        if step == "first": subprocess.run(["cat" if s.data.is_file() else "true", str(s.data)], stdout=subprocess.DEVNULL)
        argv = STEPS[step](tool, s.data, out)
        if argv is None: return None
        os.sync()
        try: wall, cpu, rss = run(argv, tool.env, tool.d)
        except RuntimeError as e:
            print(f"{s.name} {tool.name} {step}: FAILED {e}", file=sys.stderr)
            s.tools.remove(tool); s.bad = True; return None
        return dict(dataset=s.name, tool=tool.name, step=step, run=s.number, wall=wall, cpu=cpu, rss=rss, repo=du(tool.repo)), tool

def table(rows, names):
    """The medians in Markdown: wall s (cpu s, rss MiB, repository MiB), and ours by the best of the peers."""
    ours = [t for t in names if t in OURS]
    lines = ["| data | step | " + " | ".join(names) + "".join(f" | {t} by the best" for t in ours) + " |",
             "|---|---|" + "---|" * (len(names) + len(ours))]
    for ds in dict.fromkeys(r["dataset"] for r in rows):
        for st in dict.fromkeys(r["step"] for r in rows if r["step"] != "init"):
            walls, cells = {}, []
            for t in names:
                rs = [r for r in rows if (r["dataset"], r["step"], r["tool"]) == (ds, st, t)]
                if not rs: cells.append("–"); continue
                m = {k: statistics.median(r[k] for r in rs) for k in ("wall", "cpu", "rss", "repo")}
                walls[t] = m["wall"]
                cells.append(f"{m['wall']:.2f} ({m['cpu']:.2f}, {m['rss']:.0f}, {m['repo']:.0f})")
            # bupstash's gc frees nothing of these: it is no prune to compare with.
            best = min((walls[t] for t in PEERS if t in walls and (st, t) != ("prune", "bupstash")), default=None)
            cells += [f"{walls[t] / best:.2f}" if best and t in walls else "–" for t in ours]
            lines.append(f"| {ds} | {st} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("datasets", nargs="*"); ap.add_argument("--table", nargs="+", metavar="JSONL", help="measure nothing, print the table of these rows"); ap.add_argument("--tools", default="limit,restic,rustic,borg,bupstash,repo,repo-key")
    ap.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "peers-bench")); ap.add_argument("--runs", type=int, default=1); ap.add_argument("--json")
    a = ap.parse_args()
    names = [t for t in a.tools.split(",") if t == "limit" or shutil.which(TOOLS[t](Path()).bin)]
    if a.table:
        rows = [json.loads(line) for file in a.table for line in open(file)]
        print(table(rows, [t for t in a.tools.split(",") if any(r["tool"] == t for r in rows)])); return 0
    rows, bad = [], False
    if a.json: Path(a.json).write_text("")
    def report(row):
        rows.append(row)
        if a.json:
            with open(a.json, "a") as f: f.write(json.dumps(row) + "\n")
        print(f"{row['dataset']:8} {row['tool']:9} {row['step']:10} {row['wall']:8.2f} s  cpu {row['cpu']:8.2f} s  rss {row['rss']:7.0f} MiB  repo {row['repo']:8.1f} MiB"
              + ("" if row.get("intact", True) else "  NOT INTACT"), flush=True)
    for spec in a.datasets:
        name, _, versions = spec.partition("="); v1, v2 = versions.split(":")
        for i in range(a.runs):
            turn = Round(name, v1, v2, i, names, Path(a.work), report); turn.run(); bad |= turn.bad
    shutil.rmtree(a.work, ignore_errors=True)
    print("\n" + table(rows, names))
    return 1 if bad else 0

if __name__ == "__main__":
    sys.exit(main())
