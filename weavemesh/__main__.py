"""`python -m weavemesh`: the same as the command `weavemesh`."""

import sys

from weavemesh.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
