#!/usr/bin/env python3
"""Lists the public interface of the library from its documentation: every item, and its methods, fields and variants.

    cargo doc --release --no-deps && python3 tools/public_api.py target/doc/langevin > docs/api.txt

`.ci/run` compares the list with docs/api.txt, so that nothing public comes or goes without being seen. Signatures are not
listed: the tests and the examples hold those.
"""

import pathlib
import re
import sys

ITEM = re.compile(r'href="([^"]+\.html)"')
# Members that an item declares itself; what it has of foreign traits is no part of the list.
MEMBER = re.compile(r'id="(method|tymethod|structfield|variant|associatedconstant)\.([A-Za-z0-9_]+)"')


def members(page: str) -> list[str]:
    own = page.split('id="trait-implementations', 1)[0].split('id="synthetic-implementations', 1)[0]
    return sorted({f"{kind.removeprefix('ty')} {name}" for kind, name in MEMBER.findall(own)})


def main() -> int:
    docs = pathlib.Path(sys.argv[1])
    listed = [href for href in ITEM.findall((docs / "all.html").read_text()) if not href.startswith(("..", "index"))]
    if not listed:
        print(f"{docs}/all.html lists no items", file=sys.stderr)
        return 1
    for href in sorted(set(listed)):
        *modules, file = href.split("/")
        kind, name, _ = file.split(".", 2)
        path = "::".join([*modules, name])
        print(f"{kind} {path}")
        for member in members((docs / href).read_text()):
            print(f"    {member}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
