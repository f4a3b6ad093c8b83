"""What loads: every inventory of a real checkpoint's keys, and what becomes of each key.

    python benchmarks/checkpoint_table.py [FOLDER]

FOLDER holds `{name: {"shape": [...]}}` files; without one it is `keys/` of the folder that GOLDEN names, else
of ../shared/golden.  Prints the table of README and docs/checkpoints.md; ends with 1 where a key has no place
or a weight no key.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from ldm.checkpoints.inventory import accounts, as_markdown  # noqa: E402


def main() -> int:
    """Print the table."""
    golden = Path(os.environ.get("GOLDEN", ROOT.parent / "shared" / "golden"))
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else golden / "keys"
    if not folder.is_dir():
        print(f"There is no folder {folder}.", file=sys.stderr)
        return 2
    found = list(accounts(folder))
    print(as_markdown(found), end="")
    wrong = [one for one in found if not one.refusal and not one.is_strict]
    for one in wrong:
        print(f"{one.name}: {(*one.unclaimed, *one.unfed, *one.misshapen)[:5]}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
