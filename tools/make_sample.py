"""See hpr/commands/make_sample.py."""

from hpr.commands.make_sample import main

if __name__ == "__main__":
    main()
