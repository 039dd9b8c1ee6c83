"""What the machine provides: devices, precisions, ranks, memory, signals and locked folders."""
