"""Write the generated parts of the documentation, or check that they are current.

python -m scripts.docs                  write docs/cli.md, docs/json.md and docs/events.schema.json
python -m scripts.docs --containers     write docs/containers.md, too, which takes about a minute
python -m scripts.docs --check          write nothing; name each page that is not current, and exit 1
"""

import argparse
import sys

from scripts.docs.pages import FAST, SLOW, outdated, write


def main() -> None:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only name the pages that are not current")
    parser.add_argument("--containers", action="store_true", help="include the table of containers")
    arguments = parser.parse_args()
    pages = FAST + SLOW if arguments.containers else FAST
    if not arguments.check:
        write(pages)
        return
    for page in (stale := outdated(pages)):
        print(f"{page} is not current: run `python -m scripts.docs`", file=sys.stderr)
    sys.exit(bool(stale))


if __name__ == "__main__":
    main()
