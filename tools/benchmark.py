"""See hpr/commands/benchmark.py."""

from hpr.commands.benchmark import main

if __name__ == "__main__":
    main()
