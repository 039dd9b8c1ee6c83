"""What each command does, callable without a command line. `app` is the only module that knows Hydra."""
