#!/usr/bin/env python3
"""Asks the real restic what it would forget, for engine/tests/retention_restic.rs.

    tests/tools/retention_restic.py RESTIC [--seed N] > engine/tests/data/retention-restic.json

makes scratch repositories with `restic backup --time` (some minutes: each snapshot is a run of restic), asks
`restic forget --dry-run --json` with many policies, and prints snapshots and answers as JSON. Ids are replaced by
numbers, oldest snapshot first, so that the same seed gives the same output. Another seed makes other series:

    tests/tools/retention_restic.py RESTIC --seed 7 > /tmp/other.json
    REPO_RETENTION_FIXTURE=/tmp/other.json cargo test -p repo-engine --test retention_restic
"""
import argparse
import datetime
import json
import os
import random
import subprocess
import sys
import tempfile

UTC, BERLIN, NEW_YORK, KATHMANDU = "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"


def restic(binary, repository, arguments, zone=UTC, text=None):
    environment = dict(os.environ, TZ=zone, RESTIC_REPOSITORY=repository)
    command = [binary, "--insecure-no-password", "--no-cache", "--quiet", *arguments]
    return subprocess.run(command, env=environment, input=text, capture_output=True, text=True, check=False)


def stepped(start, step, count, **fields):
    """`count` snapshots, `step` apart."""
    start = datetime.datetime.fromisoformat(start)
    return [dict(fields, time=start + i * step) for i in range(count)]


def series(rng):
    """The snapshots of the large scenario: wall clock time, zone, host, path, tags."""
    hours, days = (lambda n: datetime.timedelta(hours=n)), (lambda n: datetime.timedelta(days=n))
    made = []
    # The documented example: twelve Sundays.
    made += stepped("2019-09-01 11:00:00", days(7), 12, zone=UTC, host="mopped", path="home/work", tags=[])
    # Years, irregular, some days twice; tags.
    start = datetime.datetime(2023, 11, 1)
    for _ in range(90):
        time = start + datetime.timedelta(seconds=rng.randrange(800 * 86400))
        tags = rng.choice([[], [], ["daily"], ["daily", "good"], ["release"], ["good", "release"]])
        made.append(dict(time=time, zone=UTC, host="alpha", path="srv/a", tags=tags))
    # Ends of years and months, where weeks and calendar arithmetic are hard.
    for day in ["2024-12-28", "2024-12-29", "2024-12-30", "2024-12-31", "2025-01-01", "2025-01-05", "2025-01-06",
                "2024-02-28", "2024-02-29", "2024-03-01", "2025-02-28", "2025-03-01", "2025-03-02", "2025-03-03",
                "2025-03-31", "2021-01-03", "2021-01-04", "2020-12-31"]:
        for clock in ["00:00:00", "23:59:59"]:
            made.append(dict(time=datetime.datetime.fromisoformat(f"{day} {clock}"), zone=UTC, host="ends",
                             path="srv/e", tags=[]))
    # Both clock changes, and zones side by side.
    made += stepped("2025-10-25 22:10:00", hours(0.5), 16, zone=BERLIN, host="beta", path="srv/b", tags=["night"])
    made += stepped("2025-10-26 02:05:00", hours(0.5), 4, zone="Etc/GMT-1", host="beta", path="srv/b", tags=["night"])
    # Seconds apart: 02:30 does not exist that night and is 03:30, and what restic does at equal times depends on chance.
    made += stepped("2025-03-29 23:30:00", hours(1) + datetime.timedelta(seconds=7), 8, zone=BERLIN, host="beta",
                    path="srv/b", tags=[])
    for i in range(40):
        time = datetime.datetime(2025, 6, 1) + i * hours(5) + datetime.timedelta(seconds=rng.randrange(7200))
        made.append(dict(time=time, zone=rng.choice([UTC, BERLIN, NEW_YORK, KATHMANDU]), host="gamma",
                         path=rng.choice(["srv/c", "srv/d"]), tags=rng.choice([[], ["release"]])))
    # A group of one.
    made += stepped("2025-01-15 12:00:00", days(1), 1, zone=NEW_YORK, host="single", path="srv/s", tags=[])
    # Before 1970.
    made += stepped("1969-12-29 12:00:00", days(1), 5, zone=UTC, host="old", path="srv/o", tags=[])
    return made


def policies(rng):
    periods = ["hourly", "daily", "weekly", "monthly", "yearly"]
    made = [["--keep-last", "1"], ["--keep-last", "5"], ["--keep-last", "unlimited"]]
    for period in periods:
        for count in ["1", "4", "11", "unlimited"]:
            made.append([f"--keep-{period}", count])
    for period in ["", "-hourly", "-daily", "-weekly", "-monthly", "-yearly"]:
        for within in ["1h", "7d", "1m", "1y5m7d2h", "75y"]:
            made.append([f"--keep-within{period}", within])
    made += [
        ["--keep-daily", "7", "--keep-weekly", "5", "--keep-monthly", "12", "--keep-yearly", "75"],
        ["--keep-within-daily", "7d", "--keep-within-weekly", "1m", "--keep-within-monthly", "1y",
         "--keep-within-yearly", "75y"],
        ["--keep-tag", "release", "--keep-last", "1"],
        ["--keep-tag", "good,release", "--keep-tag", "night", "--keep-last", "1"],
        ["--keep-tag", "", "--keep-last", "1"],
        ["--keep-tag", "good,release"],
        ["--keep-last", "0"],
    ]
    for group in ["", "host", "paths", "tags", "host,tags", "host,paths,tags"]:
        made.append(["--group-by", group, "--keep-daily", "5", "--keep-monthly", "2"])
        made.append(["--group-by", group, "--keep-within-weekly", "2m", "--keep-last", "2"])
    for _ in range(30):
        arguments = []
        for period in rng.sample(["last"] + periods, rng.randrange(1, 5)):
            arguments += [f"--keep-{period}", str(rng.randrange(1, 15))]
        for period in rng.sample([""] + ["-" + p for p in periods], rng.randrange(0, 3)):
            within = "".join(f"{rng.randrange(1, 20)}{unit}" for unit in "ymdh" if rng.random() < 0.5) or "3d"
            arguments += [f"--keep-within{period}", within]
        made.append(arguments)
    return made


def run(binary, name, snapshots, asked):
    with tempfile.TemporaryDirectory() as scratch:
        result = restic(binary, scratch, ["init"])
        assert result.returncode == 0, result.stderr
        for snapshot in snapshots:
            arguments = ["backup", "--stdin", "--stdin-filename", snapshot["path"], "--host", snapshot["host"],
                         "--time", snapshot["time"].strftime("%Y-%m-%d %H:%M:%S"), "--group-by", "host"]
            for tag in snapshot["tags"]:
                arguments += ["--tag", tag]
            result = restic(binary, scratch, arguments, snapshot["zone"], "text\n")
            assert result.returncode == 0, result.stderr
        listed = json.loads(restic(binary, scratch, ["snapshots", "--json"]).stdout)
        moment = lambda s: datetime.datetime.fromisoformat(s["time"])  # noqa: E731
        listed.sort(key=lambda s: (moment(s), s["hostname"], s["paths"], s.get("tags", [])))
        assert len({moment(s) for s in listed}) == len(listed), "two snapshots of one time"
        number = {snapshot["id"]: i for i, snapshot in enumerate(listed)}
        answers = []
        for arguments in asked:
            result = restic(binary, scratch, ["forget", "--dry-run", "--json", *arguments])
            if result.returncode != 0:
                known = ["refusing to delete last snapshot", "no policy was specified"]
                assert any(words in result.stderr for words in known), result.stderr
                answers.append(dict(arguments=arguments, refused=True))
                continue
            groups = []
            for group in json.loads(result.stdout or "null") or []:
                reasons = [[number[r["snapshot"]["id"]] if "id" in r["snapshot"] else None, r["matches"]]
                           for r in group["reasons"] or []]
                kept = [number[s["id"]] for s in group["keep"] or []]
                # Reasons come in the order of what is kept.
                groups.append(dict(keep=[[i, matches] for i, (_, matches) in zip(kept, reasons, strict=True)],
                                   remove=[number[s["id"]] for s in group["remove"] or []]))
            groups.sort(key=lambda g: g["keep"])
            answers.append(dict(arguments=arguments, groups=groups))
        return dict(name=name, now=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                    snapshots=[dict(time=s["time"], host=s["hostname"], paths=s["paths"], tags=s.get("tags", []))
                               for s in listed], answers=answers)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("restic")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    version = subprocess.run([options.restic, "version"], capture_output=True, text=True, check=True).stdout.split()[1]
    past = run(options.restic, "past", series(rng), policies(rng))
    # Clocks that run ahead: nine days, of which the last three have not come yet.
    ahead = [dict(time=datetime.datetime(year, 1, day, hour), zone=UTC, host="ahead", path="srv/f", tags=[])
             for year, day, hour in [(2024, 1, 1), (2024, 1, 5), (2024, 2, 5), (2024, 9, 5), (2024, 20, 5), (2025, 1, 5),
                                     (2199, 1, 1), (2199, 1, 5), (2199, 2, 5)]]
    asked = [["--keep-last", "2"], ["--keep-daily", "3"], ["--keep-yearly", "2"], ["--keep-within", "1m"],
             ["--keep-within-daily", "1m"], ["--keep-last", "4", "--keep-within-yearly", "3y"]]
    future = run(options.restic, "future", ahead, asked)
    made = dict(made_by="tests/tools/retention_restic.py", restic=version, seed=options.seed, scenarios=[past, future])
    # A line for each snapshot and answer: differences can be read.
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    for mark in ['{"time":', '{"arguments":', '{"name":', '"answers":']:
        text = text.replace(mark, "\n" + mark)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
