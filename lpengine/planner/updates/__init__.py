"""Decides what an update means for hosts and pools: what is applied, what remains
to be done, and why. Rules and functions are listed in docs/planning.md."""
