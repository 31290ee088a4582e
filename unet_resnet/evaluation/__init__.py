"""The score sheet: tolerances, skeletons, tables, the worst photos."""
