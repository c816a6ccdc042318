"""The command `flambeau`, also `python -m flambeau`."""

from __future__ import annotations

import sys

HELP = """\
usage: flambeau [--help] [--version] command ...

Flambeau is a deep-learning framework with PyTorch's API.

commands:
  run      run a program that imports torch: flambeau run script.py [argument ...]
  doctor   show what Flambeau has found on this machine, and what is missing"""


def main() -> None:
    """Runs the command that the command line names."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP)
        raise SystemExit(0 if arguments else 2)
    if arguments[0] in ("-V", "--version"):
        import flambeau

        print(f"flambeau {flambeau.__version__}")
    elif arguments[0] == "run":
        from flambeau._run import run

        run(arguments[1:])
    elif arguments[0] == "doctor":
        from flambeau._doctor import examine

        raise SystemExit(examine())
    else:
        print(f"flambeau: no command {arguments[0]!r}\n\n{HELP}", file=sys.stderr)
        raise SystemExit(2)


if __name__ == "__main__":
    main()
