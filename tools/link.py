"""Makes `import flambeau` and the `flambeau` command of this environment use the checkout."""

import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

COMMAND = """#!{python}
import sys

from flambeau.__main__ import main

sys.exit(main())
"""


def main() -> None:
    paths = sysconfig.get_paths()
    (Path(paths["purelib"]) / "flambeau-checkout.pth").write_text(f"{ROOT}\n")
    command = Path(paths["scripts"]) / "flambeau"
    command.write_text(COMMAND.format(python=sys.executable))
    command.chmod(0o755)


if __name__ == "__main__":
    main()
