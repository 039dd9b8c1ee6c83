"""The same as `hpr refine`, in a checkout of the repository."""

import sys

from hpr.cli.main import main

if __name__ == "__main__":
    main(["refine", *sys.argv[1:]])
