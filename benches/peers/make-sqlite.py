#!/usr/bin/env python3
"""Makes a SQLite file like a chat server's, and the same after edits:  make-sqlite.py V1 V2 [ROWS]

Messages of some hundred bytes in pages of 4 KiB, with indexes by room and by the time of the last edit. Version 2
is version 1 after updates to 3 rows in 1,000, scattered over the table: each writes a longer text and a new time,
so pages of the table, of one index, and some new ones change. Seeded: the same rows every time.
"""
import random, shutil, sqlite3, sys

v1, v2 = sys.argv[1:3]
rows = int(sys.argv[3]) if len(sys.argv) > 3 else 1_600_000
seeded = random.Random(3)
syllables = "ba be bo da de di do fa fi ga go ha he ka ke ki la le lo ma me mi na ne no pa pe ra re ri sa se so ta te ti va ve".split()
words = ["".join(seeded.choices(syllables, k=seeded.choice((1, 2, 2, 3, 3, 4)))) for _ in range(20_000)]
# As in language: a few words are most of a text.
weights = [1 / (rank + 3) for rank in range(len(words))]
stream = seeded.choices(words, weights, k=2_000_000)

def text():
    begin = seeded.randrange(len(stream) - 100)
    return " ".join(stream[begin : begin + min(90, 3 + int(seeded.expovariate(1 / 18)))])

def messages():
    for number in range(rows):
        sent = 1_700_000_000_000 + number * 7_919 + seeded.randrange(5_000)
        room = int(seeded.paretovariate(0.8)) % 3_000
        yield number, room, f"@user{seeded.randrange(900)}:example.org", sent, sent, f"{seeded.getrandbits(128):032x}", text()

database = sqlite3.connect(v1, isolation_level=None)
database.execute("pragma page_size = 4096")
database.execute("pragma journal_mode = off")
database.execute("pragma synchronous = off")
database.execute("create table messages(id integer primary key, room int, sender text, sent int, edited int, event text, body text)")
database.execute("begin")
database.executemany("insert into messages values(?,?,?,?,?,?,?)", messages())
database.execute("create index by_room on messages(room, sent)")
database.execute("create index by_edit on messages(edited)")
database.execute("commit")
database.close()

shutil.copyfile(v1, v2)
database = sqlite3.connect(v2, isolation_level=None)
database.execute("pragma synchronous = off")
database.execute("begin")
edits = [(1_800_000_000_000 + count * 1_013, " edit: " + text(), number)
         for count, number in enumerate(seeded.sample(range(rows), rows * 3 // 1000))]
database.executemany("update messages set edited = ?, body = body || ? where id = ?", edits)
database.execute("commit")
database.close()
