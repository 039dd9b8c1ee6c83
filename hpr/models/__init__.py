"""The network, apart from files and poses."""
