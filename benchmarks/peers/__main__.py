"""The process of one peer: `python -m benchmarks.peers NAME REQUEST.json-text | --check`.

Reads one number of passes per line and answers each with a line of JSON.
"""

import json
import os
import sys

from benchmarks import peers, process


def main(argv: list[str]) -> int:
    """Serves until standard input ends; with `--check`, status 0 means that the peer is installed."""
    name, argument = argv
    if argument == "--check":
        return 0 if peers.is_installed(name) else 3
    request = peers.Request.from_json(json.loads(argument))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps what libraries print out of the answers
    module = peers.load(name)
    run = module.open_training(request) if request.training else module.open(request)
    print(json.dumps({"opened": name}), file=answers, flush=True)
    for line in sys.stdin:
        process.reset_peak_memory()
        before = process.cpu_seconds()
        images = run(int(line))
        answer = {
            "images": images,
            "cpu_seconds": process.cpu_seconds() - before,
            "peak_memory_bytes": process.peak_memory_bytes(),
        }
        print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
