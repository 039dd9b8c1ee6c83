"""The same as `hpr port`, in a checkout of the repository."""

import sys

from hpr.cli.main import main

if __name__ == "__main__":
    main(["port", *sys.argv[1:]])
