"""Pictures, charts and tables of what was done."""
