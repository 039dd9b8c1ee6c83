"""What the machine gives: devices, precisions, processes and memory."""
