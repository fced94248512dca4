"""Every table and figure of the paper in one command: `python -m analysis all`."""
