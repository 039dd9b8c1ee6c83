"""The same as `hpr train`, in a checkout of the repository."""

import sys

from hpr.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
