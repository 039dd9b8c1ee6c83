"""`python -m hpr`: the same as the installed program `hpr`."""

from hpr.cli.main import main

if __name__ == "__main__":
    main()
