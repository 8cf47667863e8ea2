"""Memory and CPUs that the engine itself patches."""
