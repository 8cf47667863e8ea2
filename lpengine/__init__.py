"""Live patches on x86-64: built, proved, planned, applied and taken back."""
