"""The paper's tables and figures: `python -m analysis STUDY`."""
