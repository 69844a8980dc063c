#!/usr/bin/env python3
"""Makes the test vectors from FORMAT.md, always the same bytes.

    generate.py                     writes *.json beside this file
    generate.py --repository DIR    makes a small complete repository (password "correct horse") to try a reader on
"""

import sys

from make_keys import keys, roots, session_key, slots
from make_objects import clients, config, envelope, forgotten, prune, register
from make_packs import index, pack, segment
from make_trees import cbor_vectors, chunker, tree, tree_cut
from sample import repository

if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--repository":
        repository(sys.argv[2])
    else:
        for topic in (keys, roots, slots, session_key, config, envelope, register, forgotten, prune, clients, segment, pack, index,
                      tree, chunker, tree_cut, cbor_vectors):
            topic()
