"""The program `hpr`: one module a command; `main` finds it, `app` runs it, `help` explains it."""
