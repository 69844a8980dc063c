#!/usr/bin/env python3
"""How time and memory grow with files, chunks and snapshots.

  scaling.py --tools DIR --work DIR [--out DIR] [--files-up-to N] [--chunks-up-to N] [--snapshots-up-to N] [--only SERIES]

Three series, in steps of ten:
  files      first and unchanged snapshot, check and restore of trees of so many files, empty if not said otherwise
  chunks     snapshot of a small tree with so many chunks in the index: at once, and after the local index was lost
  snapshots  snapshot, snapshots and (if the program knows it) forget --dry-run with so many snapshots

TOOLS holds `repo`, `many-files` and `many-chunks` (target/release). WORK must have room: ten million files take ten
million inodes and 4 GB, ten million chunks 2 GB. A key file opens the repositories, so that memory is what a
command itself needs and not the 64 MiB of Argon2id.

Writes OUT/scaling-DATE.jsonl (a row for each measurement, as it is made) and OUT/scaling-DATE.svg; the table goes to
standard output, and between the marks in --report FILE. Only the standard library.
"""
import argparse, datetime, json, math, os, platform, resource, shutil, subprocess, sys, time
from pathlib import Path

# What was promised, in MiB.
MEMORY_LIMIT, MEMORY_LIMIT_AT_10M = 100, 200
# The kernel counts this script's own memory for a child that has not begun its program yet: less can't be told.
FLOOR = math.ceil(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024) + 1
MARKS = ("<!-- scaling: begin -->", "<!-- scaling: end -->")


class Failed(Exception):
    pass


class Bench:
    def __init__(self, args):
        self.tools, self.work = Path(args.tools).resolve(), Path(args.work).resolve()
        self.rows, self.log = [], None
        self.runs, self.file_bytes = args.runs, args.file_bytes
        for tool in ("repo", "many-files", "many-chunks"):
            if not (self.tools / tool).is_file():
                raise Failed(f"{self.tools / tool} is missing")
        self.work.mkdir(parents=True, exist_ok=True)
        self.place = self.work / "run"
        env = {name: value for name, value in os.environ.items() if not name.startswith("REPO_")}
        self.env = {**env, "REPO_REPOSITORY": str(self.place / "repository"), "REPO_CACHE_DIR": str(self.place / "cache"),
                    "REPO_KEY_FILE": str(self.place / "key")}

    def begin(self):
        """A new, empty repository."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        self.repo("init", "-q")
        self.small = self.place / "small"
        for number in range(20):
            (self.small / f"d{number % 4}").mkdir(parents=True, exist_ok=True)
            (self.small / f"d{number % 4}" / f"f{number}").write_bytes(f"{number} ".encode() * 500)
        # Files as new as a snapshot are read again by the next one.
        time.sleep(0.1)

    def execute(self, argv):
        """Runs argv; wall seconds, CPU seconds and peak MiB from the kernel's accounting of that child."""
        errors = self.place / "stderr"
        with open(errors, "wb") as stderr:
            start = time.perf_counter()
            child = subprocess.Popen(argv, env=self.env, cwd=self.place, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=stderr)
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            text = errors.read_text(errors="replace")[-1000:]
            raise Failed(f"exit {child.returncode}: {' '.join(map(str, argv))}\n{text}")
        return wall, usage.ru_utime + usage.ru_stime, max(usage.ru_maxrss / 1024, FLOOR)

    def repo(self, *words):
        return self.execute([self.tools / "repo", *map(str, words)])

    def measure(self, series, count, step, *words, before=None):
        """The fastest of some runs of a command, as a row."""
        best = None
        for _ in range(self.runs):
            if before:
                before()
            best = min(best or (math.inf,), self.repo(*words))
        wall, cpu, rss = best
        self.add(series=series, count=count, step=step, wall=wall, cpu=cpu, rss=rss)

    def add(self, **row):
        self.rows.append(row)
        with open(self.log, "a") as log:
            log.write(json.dumps(row) + "\n")
        print(f"{row['series']:9} {row['count']:>9}  {row['step']:20} {row['wall']:9.2f} s  cpu {row['cpu']:8.2f} s"
              f"  peak {row['rss']:6.0f} MiB", file=sys.stderr, flush=True)

    def make_files(self, count):
        """A tree of so many files; kept for later runs of this script."""
        tree = self.work / f"files-{count}-{self.file_bytes}"
        made = tree.with_suffix(".made")
        if not made.exists():
            shutil.rmtree(tree, ignore_errors=True)
            print(f"making {count} files", file=sys.stderr, flush=True)
            self.execute([self.tools / "many-files", str(tree), str(count), str(self.file_bytes)])
            made.touch()
        else:
            # As warm as if it had just been made.
            subprocess.run(["find", str(tree), "-size", "+1G"], check=True, stdout=subprocess.DEVNULL)
        return tree

    def files(self, count):
        self.begin()
        tree = self.make_files(count)
        once = self.runs
        # The second of two first snapshots would be no first one.
        self.runs = 1
        self.measure("files", count, "first snapshot", "snapshot", "-q", tree)
        self.runs = once
        self.measure("files", count, "unchanged snapshot", "snapshot", "-q", tree)
        self.measure("files", count, "check", "check", "-q")
        free = os.statvfs(self.work)
        if free.f_files and free.f_favail < count + count // 1000 + 1000:
            print(f"no restore of {count} files: {free.f_favail} inodes left", file=sys.stderr)
        else:
            self.runs = 1
            self.measure("files", count, "restore", "restore", "-q", f"latest:{tree}", "--target", self.place / "out")
            self.runs = once

    def chunks(self, count):
        self.begin()
        self.repo("snapshot", "-q", self.small)
        self.execute([self.tools / "many-chunks", str(self.place / "repository"), str(self.place / "cache"), str(count)])
        lose_index = lambda: self.repo("cache", "clear", "--all", "-q")
        self.measure("chunks", count, "local index lost", "snapshot", "-q", self.small, before=lose_index)
        changed = self.small / "changed"

        def change():
            changed.write_bytes(os.urandom(100_000))
        self.measure("chunks", count, "small snapshot", "snapshot", "-q", self.small, before=change)
        self.measure("chunks", count, "snapshots", "snapshots", "-q")

    def snapshots(self, counts):
        """All counts in one repository, which grows."""
        self.begin()
        knows_forget = "\n  forget " in subprocess.run([self.tools / "repo", "--help"], capture_output=True, text=True).stdout
        day = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
        made = 0
        for count in counts:
            while made < count:
                (self.small / "day").write_text(f"day {made}\n")
                when = (day + datetime.timedelta(days=made)).isoformat()
                self.repo("snapshot", "-q", "--time", when, self.small)
                made += 1
            self.measure("snapshots", count, "snapshots", "snapshots", "-q")
            self.measure("snapshots", count, "snapshot, dry run", "snapshot", "-q", "--dry-run", self.small)
            self.measure("snapshots", count, "check", "check", "-q")
            if knows_forget:
                self.measure("snapshots", count, "forget, dry run", "forget", "-q", "--dry-run", "--keep-daily", 7,
                             "--keep-monthly", 12)


def steps_of_ten(first, last):
    counts = []
    while first <= last:
        counts.append(first)
        first *= 10
    return counts


# --- Tables -----------------------------------------------------------------------------------------------------------

TITLES = {"files": "files in the tree", "chunks": "chunks in the index", "snapshots": "snapshots in the repository"}


def by_step(rows, series):
    found = {}
    for row in rows:
        if row["series"] == series:
            found.setdefault(row["step"], {})[row["count"]] = row
    return found


def words_of(count):
    exponent = round(math.log10(count))
    return f"10{''.join('⁰¹²³⁴⁵⁶⁷⁸⁹'[int(digit)] for digit in str(exponent))}" if 10**exponent == count else str(count)


def mebibytes(row):
    return f"≤ {row['rss']}" if isinstance(row["rss"], int) else f"{row['rss']:.0f}"


def tables(rows):
    lines = []
    for series, title in TITLES.items():
        steps = by_step(rows, series)
        if not steps:
            continue
        counts = sorted({count for found in steps.values() for count in found})
        lines += [f"| {title}: seconds (peak MiB) | " + " | ".join(map(words_of, counts)) + " |",
                  "|---|" + "---|" * len(counts)]
        for step, found in steps.items():
            cells = [f"{found[c]['wall']:.2f} ({mebibytes(found[c])})" if c in found else "–" for c in counts]
            lines.append(f"| {step} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def over_limit(rows):
    """What needs more memory than was promised."""
    def limit(row):
        return MEMORY_LIMIT_AT_10M if row["series"] != "snapshots" and row["count"] >= 10**7 else MEMORY_LIMIT
    return [row for row in rows if row["rss"] > limit(row)]


# --- Plot -------------------------------------------------------------------------------------------------------------

COLOURS = ["#1b6ca8", "#d1495b", "#2e8b57", "#8d5a97", "#c77d0a"]
PANEL_W, PANEL_H, LEFT, TOP, GAP_X, GAP_Y = 330, 230, 70, 60, 80, 90


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Panel:
    """Axes of powers of ten, from the decade below the smallest value to the one above the largest."""

    def __init__(self, x, y, xs, ys):
        self.x, self.y = x, y
        self.x0, self.x1 = math.log10(min(xs)), math.log10(max(xs))
        if self.x0 == self.x1:
            self.x1 += 1
        self.y0, self.y1 = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
        if self.y0 == self.y1:
            self.y1 += 1

    def at(self, x, y):
        return (self.x + (math.log10(x) - self.x0) / (self.x1 - self.x0) * PANEL_W,
                self.y + PANEL_H - (math.log10(y) - self.y0) / (self.y1 - self.y0) * PANEL_H)

    def frame(self, title, unit, counts):
        out = [f'<rect x="{self.x}" y="{self.y}" width="{PANEL_W}" height="{PANEL_H}" fill="none" stroke="#888"/>',
               f'<text x="{self.x}" y="{self.y - 8}" font-weight="bold">{escaped(title)}</text>']
        for exponent in range(self.y0, self.y1 + 1):
            y = self.at(10**self.x0, 10**exponent)[1]
            value = 10**exponent
            label = f"{value:g} {unit}"
            out += [f'<line x1="{self.x}" y1="{y:.1f}" x2="{self.x + PANEL_W}" y2="{y:.1f}" stroke="#ddd"/>',
                    f'<text x="{self.x - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>']
        for count in counts:
            x = self.at(count, 10**self.y0)[0]
            exponent = math.log10(count)
            out += [f'<line x1="{x:.1f}" y1="{self.y}" x2="{x:.1f}" y2="{self.y + PANEL_H}" stroke="#ddd"/>',
                    f'<text x="{x:.1f}" y="{self.y + PANEL_H + 16}" text-anchor="middle">10'
                    f'<tspan dy="-5" font-size="9">{exponent:g}</tspan></text>']
        return out

    def line(self, points, colour):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in (self.at(*p) for p in points)]
        return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots]

    def dashes(self, points):
        (x1, y1), (x2, y2) = (self.at(*point) for point in points)
        return [f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#999" stroke-dasharray="4 4"/>']


def plot(rows, title):
    """A row of panels for each series: seconds, then MiB. Both axes are logarithmic."""
    out, y = [], TOP
    for series, what in TITLES.items():
        steps = by_step(rows, series)
        if not steps:
            continue
        counts = sorted({count for found in steps.values() for count in found})
        for column, (field, unit, name) in enumerate([("wall", "s", "time"), ("rss", "MiB", "peak memory")]):
            values = [max(row[field], 1e-3) for found in steps.values() for row in found.values()]
            if field == "rss":
                values.append(MEMORY_LIMIT_AT_10M if counts[-1] >= 10**7 else MEMORY_LIMIT)
            panel = Panel(LEFT + column * (PANEL_W + GAP_X), y, counts, values)
            out += panel.frame(f"{name} against {what}", unit, counts)
            if field == "rss":
                out += panel.dashes([(counts[0], MEMORY_LIMIT), (10**panel.x1, MEMORY_LIMIT)])
                if counts[-1] >= 10**7 and counts[0] < 10**7:
                    out += panel.dashes([(10**6.7, MEMORY_LIMIT_AT_10M), (10**7, MEMORY_LIMIT_AT_10M)])
            for (step, found), colour in zip(steps.items(), COLOURS):
                out += panel.line([(count, max(row[field], 1e-3)) for count, row in sorted(found.items())], colour)
        x = LEFT
        for step, colour in zip(steps, COLOURS):
            out += [f'<circle cx="{x + 4}" cy="{y + PANEL_H + 36}" r="4" fill="{colour}"/>',
                    f'<text x="{x + 13}" y="{y + PANEL_H + 40}">{escaped(step)}</text>']
            x += 40 + 7 * len(step)
        y += PANEL_H + GAP_Y
    width = LEFT + 2 * PANEL_W + GAP_X + 20
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y - GAP_Y + 60}" font-family="sans-serif" font-size="12">',
            f'<rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="24" font-size="15">{escaped(title)}</text>']
    return "\n".join([*head, *out, "</svg>"]) + "\n"


# --- Everything -------------------------------------------------------------------------------------------------------

def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def machine(bench):
    version = subprocess.run([bench.tools / "repo", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return f"{version}, {len(os.sched_getaffinity(0))} cores of {processor()}, {memory} GiB"


def update_report(report, section):
    text = report.read_text()
    begin, end = (text.find(mark) for mark in MARKS)
    if begin < 0 or end < begin:
        raise Failed(f"{report} lacks the marks {MARKS[0]} and {MARKS[1]}")
    report.write_text(text[:begin] + MARKS[0] + "\n" + section + text[end:])


def section_of(rows, name, where, date):
    over = over_limit(rows)
    said = "No step needs more memory than that." if not over else "Over it: " + "; ".join(
        f"{row['step']} with {words_of(row['count'])} {row['series']}, {row['rss']:.0f} MiB" for row in over) + "."
    return (f"\n{date}: {where}. Wall seconds, in brackets the peak of resident memory in MiB; a key file opens the "
            f"repository, so Argon2id's\n64 MiB are not in it. Promised: at most {MEMORY_LIMIT} MiB, {MEMORY_LIMIT_AT_10M} "
            f"with ten million files or chunks. {said}\nRaw rows: `results/{name}.jsonl`.\n\n"
            f"{tables(rows)}\n![time and memory, both axes logarithmic](results/{name}.svg)\n\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--out", default=".")
    parser.add_argument("--report", help="a Markdown file with the marks of this script")
    parser.add_argument("--files-up-to", type=int, default=10**7)
    parser.add_argument("--file-bytes", type=int, default=0, help="above 192, every file has a chunk of its own")
    parser.add_argument("--chunks-up-to", type=int, default=10**7)
    parser.add_argument("--snapshots-up-to", type=int, default=1000)
    parser.add_argument("--only", default="files,chunks,snapshots", help="series, with commas")
    parser.add_argument("--runs", type=int, default=1, help="the fastest of so many counts")
    parser.add_argument("--plot-only", metavar="JSONL", help="measure nothing, draw these rows again")
    parser.add_argument("--keep", action="store_true", help="leave the trees for the next run")
    args = parser.parse_args()
    date = datetime.date.today().isoformat()
    name, out = f"scaling-{date}", Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    if args.plot_only:
        name = Path(args.plot_only).stem
        head, *rows = map(json.loads, Path(args.plot_only).read_text().splitlines())
        where, date = head["machine"], head["date"]
    else:
        bench = Bench(args)
        where = machine(bench)
        bench.log = out / f"{name}.jsonl"
        bench.log.write_text(json.dumps({"date": date, "machine": where}) + "\n")
        series = args.only.split(",")
        try:
            for count in steps_of_ten(10**4, args.files_up_to) if "files" in series else []:
                bench.files(count)
            for count in steps_of_ten(10**5, args.chunks_up_to) if "chunks" in series else []:
                bench.chunks(count)
            if "snapshots" in series:
                bench.snapshots(steps_of_ten(10, args.snapshots_up_to))
        finally:
            shutil.rmtree(bench.place, ignore_errors=True)
            if not args.keep:
                for left in bench.work.glob("files-*-*"):
                    left.unlink() if left.is_file() else shutil.rmtree(left)
        rows = bench.rows
    (out / f"{name}.svg").write_text(plot(rows, f"{where}, {date}"))
    section = section_of(rows, name, where, date)
    if args.report:
        update_report(Path(args.report), section)
    print(section)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"scaling: {error}")
